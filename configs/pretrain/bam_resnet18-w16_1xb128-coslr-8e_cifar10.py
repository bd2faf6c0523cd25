# BAM on CIFAR-10, or on any folder of 32 px images: a quarter-width ResNet-18 on a CPU. At this
# batch size it needs BatchNorm in the projector and softer temperatures than the paper's.
_base_ = ["../_base_/datasets/cifar10_bam.py", "../_base_/default_runtime.py"]

max_epochs = 8
layout = _base_.layout

model = dict(
    type="bam_mm.BAM",
    layout=layout,
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16),
    neck=dict(
        type="bam_mm.BAMProjector",
        in_channels=128,
        hid_channels=512,
        out_channels=512,
        act_cfg=dict(type="ReLU"),
        norm=True,
    ),
    head=dict(type="bam_mm.BAMHead", temperature=0.2, target_temperature=0.1),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=layout,
        photometric=_base_.photometric,
        photometric_place=_base_.photometric_place,
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
    ),
)
train_dataloader = dict(batch_size=128)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04),
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
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.97, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=20),
    dict(
        type="bam_mm.OnlineKNNHook",
        bank_fraction=1.0,
        interval=2,
        first=True,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
    dict(type="bam_mm.ChannelsLastHook"),
]
default_hooks = dict(boxes=_base_.boxes)
