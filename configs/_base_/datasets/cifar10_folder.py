# CIFAR-10 as a folder of images: cifar10/{train,test}/<class>/<image>, 32 px.
data_root = "data/cifar10"
num_classes = 10
data_preprocessor = dict(
    num_classes=num_classes,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)

train_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(
        type="RandomResizedCrop",
        scale=32,
        crop_ratio_range=(0.2, 1.0),
        interpolation="bicubic",
        backend="pillow",
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="bam_mm.LoadImage"), dict(type="PackInputs")]

train_dataloader = dict(
    batch_size=128,
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
    batch_size=500,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        type="bam_mm.ImageFolder", data_root=data_root, split="test", pipeline=test_pipeline
    ),
)
val_evaluator = dict(type="Accuracy", topk=(1, 5))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type="bam_mm.ClassificationTestLoop", classes=None)
