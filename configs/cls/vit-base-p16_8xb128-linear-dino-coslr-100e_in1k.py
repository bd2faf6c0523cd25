# DINO's linear probe of ViT-B/16: [CLS] and the mean patch of the last block, lr .001 x 1024 / 256,
# no BatchNorm.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

lr = 0.004
feature_channels = 1536
model = dict(
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls+mean",
    blocks=1,
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
