# BAM's linear probe of ViT-S/16 with 12 heads.
_base_ = "./vit-base-p16_8xb128-linear-coslr-100e_in1k.py"

feature_channels = 768
model = dict(
    backbone=dict(arch="mocov3-small"),
    neck=dict(input_features=feature_channels),
    head=dict(in_channels=feature_channels),
)
