# Logistic regression with 45 penalties on the toy world. The penalty is chosen on a tenth of each
# class of the training images; the val images are the test set.
_base_ = ["../_base_/datasets/toy_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(
        type="mmpretrain.MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    feature="cls",
    branch="teacher",
)
test_evaluator = []
test_cfg = dict(
    type="bam_mm.LogisticRegressionLoop",
    train=_base_.train_images,
    val_fraction=0.1,
    metric="top1",
    cache_dir=_base_.cache_dir,
)
