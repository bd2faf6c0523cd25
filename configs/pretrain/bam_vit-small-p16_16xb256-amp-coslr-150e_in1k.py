# BAM, ViT-S/16 (12 heads), 150 epochs on ImageNet-1k: Table 9a with the length of the paper's
# ablations. The -no-... configs in this folder change one setting each.
_base_ = [
    "../_base_/datasets/imagenet_bam.py",
    "../_base_/models/bam_vit-p16.py",
    "../_base_/schedules/bam_adamw_bs4096.py",
    "../_base_/default_runtime.py",
]

max_epochs = 150
warmup_epochs = 40
layout = _base_.layout

model = dict(
    layout=layout,
    backbone=dict(arch="mocov3-small"),
    neck=dict(in_channels=384),
    data_preprocessor=dict(layout=layout, photometric_place=_base_.photometric_place),
)

param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        eta_min=1e-6,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingWeightDecay",
        T_max=max_epochs,
        eta_min=0.4,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=3),
    boxes=_base_.boxes,
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)

custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.995, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=2000),
    dict(
        type="bam_mm.OnlineKNNHook",
        k=20,
        bank_fraction=0.1,
        interval=20,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
]
