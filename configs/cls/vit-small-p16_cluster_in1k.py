# ViT-S/16 with MoCo v3's 12 heads.
_base_ = "./vit-base-p16_cluster_in1k.py"

model = dict(backbone=dict(arch="mocov3-small"))
