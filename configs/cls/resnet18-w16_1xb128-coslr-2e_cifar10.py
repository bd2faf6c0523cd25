# Fine-tuning on CIFAR-10 as a folder, with the quarter-width ResNet-18.
_base_ = [
    "../_base_/datasets/cifar10_folder.py",
    "../_base_/protocols/finetune.py",
    "../_base_/default_runtime.py",
]

lr = 1e-3
max_epochs = 2
warmup_epochs = 1
model = dict(
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(num_classes=_base_.num_classes, in_channels=128),
    train_cfg=None,
)
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
auto_scale_lr = dict(base_batch_size=128)
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=lr, weight_decay=0.05)
)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
# Another network brings its own mean and standard deviation instead of CIFAR-10's.
preprocessing = dict(normalisation="model")
