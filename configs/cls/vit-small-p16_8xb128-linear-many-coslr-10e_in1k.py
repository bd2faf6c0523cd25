# Linear probes of ViT-S/16 with 12 heads and 60 settings in one training.
_base_ = "./vit-base-p16_8xb128-linear-many-coslr-10e_in1k.py"

model = dict(backbone=dict(arch="mocov3-small"), in_channels=384)
