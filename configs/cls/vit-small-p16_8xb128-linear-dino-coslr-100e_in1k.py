# DINO's linear probe of ViT-S/16: [CLS] of the last four blocks, each after the final norm. DINO's
# own ViT-S has 6 heads: --cfg-options model.backbone.arch=deit-small.
_base_ = "./vit-base-p16_8xb128-linear-dino-coslr-100e_in1k.py"

feature_channels = 1536
model = dict(
    backbone=dict(arch="mocov3-small"),
    feature="cls",
    blocks=4,
    head=dict(in_channels=feature_channels),
)
