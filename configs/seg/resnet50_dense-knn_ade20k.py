# Dense kNN on ADE20K with ResNet-50 and its last map, one patch for 32x32 pixels.
_base_ = [
    "../_base_/datasets/ade20k_patches.py",
    "../_base_/protocols/dense_knn.py",
    "../_base_/mmseg_runtime.py",
]

model = dict(backbone=dict(type="mmpretrain.ResNet", depth=50), stage=3)
test_cfg = dict(bank=_base_.bank_images)
