# MoCo v3's linear probe of ViT-B/16: [CLS], 90 epochs, lr 3 x 1024 / 256.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

lr = 12.0
max_epochs = 90
feature_channels = 768
model = dict(
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls",
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, begin=0, end=max_epochs)
]
train_cfg = dict(max_epochs=max_epochs)
