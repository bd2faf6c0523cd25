# ResNet-50, its last map averaged.
_base_ = "./vit-base-p16_knn_in1k.py"

model = dict(backbone=dict(_delete_=True, type="mmpretrain.ResNet", depth=50), feature="mean")
