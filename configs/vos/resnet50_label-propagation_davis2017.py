# ResNet-50. Its last map has a patch of 32 pixels, which loses thin objects; the third stage's has
# 16, a ViT's. model.stage=3 takes the last.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

model = dict(
    backbone=dict(_delete_=True, type="mmpretrain.ResNet", depth=50, norm_eval=True), stage=2
)
