# ImageNet-1k for BAM: 2 global views of 224 px and 6 local views of 96 px.
data_root = "data/imagenet"
layout = dict(num_global=2, num_local=6, global_size=224, local_size=96)
photometric_place = "auto"
on_error = "stop"

train_pipeline = [
    # Large JPEGs are decoded at the lowest resolution that the crops allow. The backend `torch`
    # crops and augments like Pillow but is several times faster (docs/benchmarks.md).
    dict(type="bam_mm.LoadImage", on_error=on_error, lazy=True),
    dict(
        type="bam_mm.MultiCrop",
        layout=layout,
        global_scale=(0.25, 1.0),
        local_scale=(0.05, 0.25),
        photometric_place=photometric_place,
        backend="torch",
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "photometric_place")),
]
test_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=256, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="bam_mm.ImageFolder",
        data_root=data_root,
        split="train",
        fallback=True,
        pipeline=train_pipeline,
    ),
)

# ContrastiveCrop at the paper's epochs, for default_hooks = dict(boxes=_base_.boxes). Boxes are in
# fractions of the original image, so the pipeline resizes the whole image to a square.
boxes = dict(
    type="bam_mm.BoxUpdateHook",
    start=40,
    interval=20,
    loader=dict(
        batch_size=256,
        num_workers=12,
        pin_memory=True,
        pipeline=[
            dict(type="bam_mm.LoadImage", on_error=on_error),
            dict(type="Resize", scale=(224, 224), interpolation="bicubic", backend="pillow"),
            dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
        ],
    ),
)

_knn_loader = dict(
    batch_size=256, num_workers=12, pin_memory=True, collate_fn=dict(type="default_collate")
)
knn_bank = dict(
    **_knn_loader,
    dataset=dict(
        type="bam_mm.ImageFolder", data_root=data_root, split="train", pipeline=test_pipeline
    ),
)
knn_queries = dict(
    **_knn_loader,
    dataset=dict(
        type="bam_mm.ImageFolder", data_root=data_root, split="val", pipeline=test_pipeline
    ),
)

# bam-mm test CONFIG CHECKPOINT runs kNN with the whole training set as the bank.
test_dataloader = knn_queries
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict(type="bam_mm.KNNTestLoop", bank=knn_bank, k=[10, 20, 100, 200], branch="teacher")
