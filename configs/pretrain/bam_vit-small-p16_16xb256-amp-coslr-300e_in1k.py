# BAM, ViT-S/16 (12 heads), 300 epochs on ImageNet-1k: the paper's Table 9a.
_base_ = "./bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py"

model = dict(backbone=dict(arch="mocov3-small"), neck=dict(in_channels=384))
