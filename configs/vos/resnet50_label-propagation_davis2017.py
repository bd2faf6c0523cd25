# ResNet-50. The last map has patches of 32 pixels, which lose thin objects; those of the third
# stage have 16, like a ViT. model.stage=3 selects the last map.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(
    backbone=dict(_delete_=True, type="mmpretrain.ResNet", depth=50, norm_eval=True), stage=2
)
