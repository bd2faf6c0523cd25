# Logistic regression with 45 penalties on CIFAR-10 as a folder of 32 px images. The penalty is
# chosen on a tenth of each class of the training images: 45,000 / 5,000 / 10,000, as in BYOL.
_base_ = ["../_base_/datasets/cifar10_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16),
    feature="mean",
    branch="teacher",
    data_preprocessor=dict(
        mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True
    ),
)
test_evaluator = []
test_cfg = dict(
    type="bam_mm.LogisticRegressionLoop",
    train=_base_.train_images,
    val_fraction=0.1,
    metric="top1",
    cache_dir=_base_.cache_dir,
)
# Another network brings its own mean and standard deviation instead of CIFAR-10's.
preprocessing = dict(normalisation="model")
