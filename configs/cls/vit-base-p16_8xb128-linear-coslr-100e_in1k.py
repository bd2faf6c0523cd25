# BAM's linear probe of ViT-B/16: [CLS] and the mean patch of the last block, BatchNorm without
# affine parameters, lr .002 x 1024 / 256.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

feature_channels = 1536
model = dict(
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls+mean",
    neck=dict(type="ClsBatchNormNeck", input_features=feature_channels, affine=False, eps=1e-6),
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
