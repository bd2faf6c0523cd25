# Dense kNN on your own maps with ViT-S/16 (docs/your_data.md).
_base_ = [
    "../_base_/datasets/maps_patches.py",
    "../_base_/protocols/dense_knn.py",
    "../_base_/mmseg_runtime.py",
]

model = dict(
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="mocov3-small", img_size=224, patch_size=16)
)
test_cfg = dict(bank=_base_.bank_images)
