# Fine-tuning in the toy world, a minute on two cores. It keeps AdamW, warm-up, cosine, label
# smoothing and drop path of DeiT's recipe; mixup, RandAugment and the averaged model need far more
# iterations. In 8 epochs, random weights catch up: 98.5 % with BAM, 98.1 % without.
_base_ = [
    "../_base_/datasets/toy.py",
    "../_base_/protocols/finetune.py",
    "../_base_/default_runtime.py",
]

lr = 5e-4
max_epochs = 4
warmup_epochs = 1
model = dict(
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
        drop_path_rate=0.1,
    ),
    head=dict(num_classes=_base_.num_classes, in_channels=96),
    train_cfg=None,
)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=64)
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
