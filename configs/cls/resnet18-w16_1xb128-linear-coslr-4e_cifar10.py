# Linear probe on CIFAR-10 as a folder, or on any folder of 32 px images, with a quarter-width
# ResNet-18: the pooled map and BatchNorm without affine parameters.
_base_ = [
    "../_base_/datasets/cifar10_folder.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

lr = 0.1
max_epochs = 4
feature_channels = 128
model = dict(
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16),
    feature="mean",
    neck=dict(type="ClsBatchNormNeck", input_features=feature_channels, affine=False, eps=1e-6),
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, begin=0, end=max_epochs)
]
auto_scale_lr = dict(base_batch_size=128)
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
# Another network brings its own mean and standard deviation instead of CIFAR-10's.
preprocessing = dict(normalisation="model")
