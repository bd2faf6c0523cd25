# BAM on the toy world: a four-layer ViT, a few minutes on two CPU cores. Projector and temperature
# are the paper's. The target is slightly sharper (.04 instead of .05) and the teacher follows
# faster (.8 instead of .995), because there are 126 keys instead of 8,192 and 744 iterations
# instead of 94,000.
_base_ = ["../_base_/datasets/toy_bam.py", "../_base_/default_runtime.py"]

max_epochs = 12
layout = _base_.layout

model = dict(
    type="bam_mm.BAM",
    layout=layout,
    backbone=dict(
        type="MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    neck=dict(type="bam_mm.BAMProjector", in_channels=96, hid_channels=384, out_channels=384),
    head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.04, sinkhorn_iters=3),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=layout,
        photometric=_base_.photometric,
        photometric_place=_base_.photometric_place,
    ),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - 1,
        eta_min=1e-6,
        by_epoch=True,
        begin=1,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)

custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.8, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=10, min_std=0.09, warmup=40),
    dict(
        type="bam_mm.OnlineKNNHook",
        bank_fraction=0.5,
        interval=2,
        first=True,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
]
default_hooks = dict(logger=dict(interval=10), boxes=_base_.boxes)
