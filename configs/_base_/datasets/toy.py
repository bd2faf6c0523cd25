# The toy world's labelled images, 48 px as in the toy pretraining.
data_root = "data/toy/images"
num_classes = 9
data_preprocessor = dict(
    num_classes=num_classes,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(
        type="RandomResizedCrop",
        scale=48,
        crop_ratio_range=(0.25, 1.0),
        interpolation="bicubic",
        backend="pillow",
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=54, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=48),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="bam_mm.ImageFolder", data_root=data_root, split="train", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        type="bam_mm.ImageFolder", data_root=data_root, split="val", pipeline=test_pipeline
    ),
)
val_evaluator = dict(type="Accuracy", topk=(1, 5))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type="bam_mm.ClassificationTestLoop", classes=None)
