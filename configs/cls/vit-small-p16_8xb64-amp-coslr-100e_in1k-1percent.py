# Semi-supervised, ViT-S/16 (12 heads), 1 % of the labels: BAM's Table 9c, all other settings from
# DeiT. subset is SimCLR's list or a balanced list from bam-mm subset, relative to data_root
# or an absolute path.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/finetune.py",
    "../_base_/default_runtime.py",
]

subset = "subsets/1percent.txt"
lr = 5e-5
max_epochs = 100
model = dict(
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
    ),
    head=dict(num_classes=_base_.num_classes, in_channels=384),
)
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type="bam_mm.RepeatAugSampler", shuffle=True, num_repeats=3),
    dataset=dict(subset=subset, pipeline=_base_.deit_pipeline),
)

optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-6 / lr,
        by_epoch=True,
        begin=0,
        end=_base_.warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - _base_.warmup_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=_base_.warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
