# BAM, CAFormer-M36, 300 epochs on ImageNet-1k: the paper's Table 9a. As in the released code, GELU
# replaces StarReLU and there are no residual scales.
_base_ = "./bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer", model_name="caformer_m36"),
    neck=dict(in_channels=576),
)
