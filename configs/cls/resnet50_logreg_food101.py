# Linear transfer to Food-101: logistic regression on frozen features. The best of 45 penalties is
# chosen on validation and refit on train + val; top-1 on test (paper, Table 5).
_base_ = ["../_base_/datasets/transfer_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(type="mmpretrain.ResNet", depth=50),
    feature="mean",
    branch="teacher",
)
