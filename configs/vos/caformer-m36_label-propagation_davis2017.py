# CAFormer-M36 as BAM pretrains it. As with ResNet-50, its third stage has a patch of 16 pixels. The
# supervised one of timm has StarReLU and residual scales: type="mmpretrain.TIMMBackbone" loads it.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer", model_name="caformer_m36"), stage=2
)
