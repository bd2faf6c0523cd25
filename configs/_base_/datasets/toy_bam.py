# The toy world's images for BAM: two views of 48 px from images of 64 px.
data_root = "data/toy/images"
layout = dict(num_global=2, num_local=0, global_size=48)
# BYOL's augmentations, with the blur scaled from 224 px to 48 px: two pixels would erase textures.
_blur = dict(blur_sigma=(0.1, 0.45))
photometric = [
    dict(blur_prob=1.0, **_blur),
    dict(blur_prob=0.1, solarize_prob=0.2, **_blur),
]
photometric_place = "auto"
on_error = "stop"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=on_error),
    dict(
        type="bam_mm.MultiCrop",
        layout=layout,
        global_scale=(0.25, 1.0),
        photometric=photometric,
        photometric_place=photometric_place,
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "photometric_place")),
]
test_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=54, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=48),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
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

# ContrastiveCrop is off; default_hooks.boxes.start sets the epoch after which it starts. Boxes are
# in fractions of the original image, so the pipeline resizes the whole image to a square.
boxes = dict(
    type="bam_mm.BoxUpdateHook",
    start=None,
    loader=dict(
        batch_size=250,
        num_workers=1,
        pipeline=[
            dict(type="bam_mm.LoadImage", on_error=on_error),
            dict(type="Resize", scale=(48, 48), interpolation="bicubic", backend="pillow"),
            dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
        ],
    ),
)

_knn_loader = dict(batch_size=250, num_workers=1, collate_fn=dict(type="default_collate"))
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
test_cfg = dict(type="bam_mm.KNNTestLoop", bank=knn_bank, k=[10, 20, 100], branch="teacher")
