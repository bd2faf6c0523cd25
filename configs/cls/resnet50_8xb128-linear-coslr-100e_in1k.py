# BAM's linear probe of ResNet-50: the pooled map, SGD with lr .3.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

lr = 0.3
feature_channels = 2048
model = dict(
    backbone=dict(type="ResNet", depth=50),
    feature="mean",
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
