# CAFormer-M36 of timm. As with ResNet-50, its third stage has a patch of 16 pixels.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(
    backbone=dict(_delete_=True, type="mmpretrain.TIMMBackbone", model_name="caformer_m36"), stage=2
)
