# Settings that the seven transfer data sets share; the config of each data set adds its name.
# Training uses train + val, evaluation uses test. dataset.split is train, val, trainval or test
# (bam_mm.data.transfer.TRANSFER has the sizes).
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(
        type="RandomResizedCrop",
        scale=224,
        crop_ratio_range=(0.05, 1.0),
        interpolation="bicubic",
        backend="pillow",
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=256, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="bam_mm.TransferDataset", split="trainval", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(type="bam_mm.TransferDataset", split="test", pipeline=test_pipeline),
)
val_evaluator = dict(type="Accuracy", topk=(1, 5))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type="bam_mm.ClassificationTestLoop", classes=None)
