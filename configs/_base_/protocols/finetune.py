# DeiT's fine-tuning: AdamW, warm-up and cosine, mixup, CutMix, label smoothing, no gradient
# clipping.
# Set --cfg-options checkpoint=PATH; checkpoint=random deliberately trains from scratch.
checkpoint = None
branch = "teacher"
lr = 1e-3  # 5e-4 x 1024 / 512
max_epochs = 150
warmup_epochs = 5

model = dict(
    type="bam_mm.ImageClassifier",
    head=dict(
        type="LinearClsHead",
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    # As in timm, no decay of biases, one-dimensional parameters and the two embeddings.
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

# DeiT's --color-jitter .3 is left out because timm ignores it when RandAugment is on.
deit_pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="RandomResizedCrop", scale=224, interpolation="bicubic", backend="pillow"),
    dict(type="RandomFlip", prob=0.5),
    dict(  # rand-m9-mstd0.5-inc1
        type="RandAugment",
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
    ),
    dict(
        type="RandomErasing",
        erase_prob=0.25,
        mode="rand",
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type="PackInputs"),
]

custom_hooks = [
    dict(type="bam_mm.LoadBackboneHook"),
    dict(type="bam_mm.CheckLabelsHook"),
]
