# UPerNet for your own maps without a GPU (docs/your_data.md): the toy pretraining's ViT and narrow
# heads on images of any size, resized to 128x128 px. A trial, not a result.
_base_ = [
    "../_base_/models/upernet_vit-toy-p8.py",
    "../_base_/datasets/maps.py",
    "../_base_/protocols/segmentation_400i.py",
    "../_base_/mmseg_runtime.py",
]

crop_size = (128, 128)
scale = crop_size
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    dict(type="bam_mm.LoadSemanticMap"),
    dict(type="Resize", scale=scale, keep_ratio=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    dict(type="Resize", scale=scale, keep_ratio=False),
    dict(type="bam_mm.LoadSemanticMap"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=_base_.max_iters))
