# MoCo v3's linear probe of ViT-S/16.
_base_ = "./vit-base-p16_8xb128-linear-mocov3-coslr-90e_in1k.py"

feature_channels = 384
model = dict(backbone=dict(arch="mocov3-small"), head=dict(in_channels=feature_channels))
