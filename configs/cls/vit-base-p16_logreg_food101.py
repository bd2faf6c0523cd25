# Transfer to Food-101, linear: logistic regression on frozen features, the penalty of 45 chosen on
# validation, refit on train + val, top-1 on test (paper, Table 5).
_base_ = ["../_base_/datasets/transfer_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls",
    branch="teacher",
)
