# BAM, CAFormer-M36 (GELU, no residual scales), 400 epochs on ImageNet-1k: the authors' released
# script, which differs from the one for ViT only in the backbone.
_base_ = "./bam_vit-base-p16_16xb256-amp-coslr-400e_in1k_released.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer", model_name="caformer_m36"),
    neck=dict(in_channels=576),
)
