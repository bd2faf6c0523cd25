# BAM's linear probe in the toy world, a minute on two cores. The learning rate is adapted to 620
# iterations instead of 125,000.
_base_ = [
    "../_base_/datasets/toy.py",
    "../_base_/protocols/linear.py",
    "../_base_/default_runtime.py",
]

lr = 0.1
max_epochs = 10
feature_channels = 192
model = dict(
    backbone=dict(
        type="MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    feature="cls+mean",
    neck=dict(type="ClsBatchNormNeck", input_features=feature_channels, affine=False, eps=1e-6),
    head=dict(num_classes=_base_.num_classes, in_channels=feature_channels),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, begin=0, end=max_epochs)
]
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
