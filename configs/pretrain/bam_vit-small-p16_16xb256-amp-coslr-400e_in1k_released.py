# BAM, ViT-S/16 (12 heads), 400 epochs on ImageNet-1k: the authors' released script.
_base_ = "./bam_vit-base-p16_16xb256-amp-coslr-400e_in1k_released.py"

model = dict(backbone=dict(arch="mocov3-small"), neck=dict(in_channels=384))
