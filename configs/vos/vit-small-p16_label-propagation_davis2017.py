# ViT-S/16 with MoCo v3's 12 heads.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(backbone=dict(arch="mocov3-small"))
