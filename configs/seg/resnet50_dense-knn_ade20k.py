# Dense kNN on ADE20K with ResNet-50 and its last map, one patch for 32x32 pixels.
_base_ = "./vit-base-p16_dense-knn_ade20k.py"

model = dict(
    backbone=dict(_delete_=True, type="mmpretrain.ResNet", depth=50, norm_eval=True), stage=3
)
