# Dense kNN on Pascal VOC 2012 with ViT-B/16.
_base_ = [
    "../_base_/datasets/voc_patches.py",
    "../_base_/protocols/dense_knn.py",
    "../_base_/mmseg_runtime.py",
]

model = dict(backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16))
test_cfg = dict(bank=_base_.bank_images)
