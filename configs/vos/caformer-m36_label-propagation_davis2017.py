# CAFormer-M36 as pretrained by BAM; as for ResNet-50, the third stage has patches of 16 pixels.
# timm's supervised model has StarReLU and residual scales: load it with
# type="mmpretrain.TIMMBackbone".
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer", model_name="caformer_m36"), stage=2
)
