# ResNet-50; the feature is the mean of the last map.
_base_ = "./vit-base-p16_cluster_in1k.py"

model = dict(backbone=dict(_delete_=True, type="mmpretrain.ResNet", depth=50), feature="mean")
