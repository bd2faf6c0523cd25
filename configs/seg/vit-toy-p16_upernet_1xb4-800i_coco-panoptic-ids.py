# UPerNet on a few hundred images with COCO's panoptic ids as labels, without a GPU: the toy
# config's narrow heads on a small ViT/16, photographs resized to 128x128 px. It only shows that
# everything works on such data.
_base_ = [
    "../_base_/models/upernet_vit-toy-p8.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_400i.py",
    "../_base_/mmseg_runtime.py",
]

layer_decay_rate = 1.0  # The weights are random: nothing to preserve.
max_iters = 800
crop_size = (128, 128)
scale = crop_size
num_classes = 200
metainfo = dict(classes=[f"id {number}" for number in range(1, num_classes + 1)])
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=224, patch_size=16, drop_path_rate=0.0),
    neck=dict(rescales=[4, 2, 1, 0.5]),
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
    dict(type="Resize", scale=scale, keep_ratio=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    dict(type="Resize", scale=scale, keep_ratio=False),
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
    dict(type="PackSegInputs"),
]
# The same images for training and evaluation: there are no others.
_data = dict(
    type="BaseSegDataset",
    metainfo=metainfo,
    reduce_zero_label=True,
    data_prefix=dict(img_path="train2017", seg_map_path="semantic_train2017"),
)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(**_data, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(**_data, pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max_iters))
