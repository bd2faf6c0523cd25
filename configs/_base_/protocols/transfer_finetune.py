# Transfer by fine-tuning: DeiT's settings with MoCo v3's table for each data set. 100 epochs, crop
# and flip, no repeated augmentation, no RandAugment. ViT-B at batch 1024; data sets of a few
# thousand images use transfer_finetune_bs128.py. BAM multiplies the learning rate by a factor that
# is not known; set the product with --cfg-options lr=...
checkpoint = None
branch = "teacher"
lr = 6e-4  # 3e-4 x 1024 / 512
max_epochs = 100
warmup_epochs = 3

model = dict(
    type="bam_mm.ImageClassifier",
    backbone=dict(
        type="VisionTransformer", arch="base", img_size=224, patch_size=16, drop_path_rate=0.1
    ),
    head=dict(
        type="LinearClsHead",
        in_channels=768,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            ".cls_token": dict(decay_mult=0.0),
            ".pos_embed": dict(decay_mult=0.0),
        },
    ),
    clip_grad=None,
)
auto_scale_lr = dict(base_batch_size=1024)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-6 / lr,
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
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)

custom_hooks = [
    dict(type="bam_mm.LoadBackboneHook"),
    dict(type="bam_mm.CheckLabelsHook"),
]
