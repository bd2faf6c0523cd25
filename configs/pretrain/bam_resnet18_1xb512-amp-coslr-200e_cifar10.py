# BAM on CIFAR-10, or on any folder of 32 px images: ResNet-18 with the small stem, on one GPU. As
# for the quarter-width ResNet-18, BatchNorm in the projector and softer temperatures than the
# paper's.
_base_ = ["../_base_/datasets/cifar10_bam.py", "../_base_/default_runtime.py"]

max_epochs = 200
warmup_epochs = 10
layout = _base_.layout

model = dict(
    type="bam_mm.BAM",
    layout=layout,
    backbone=dict(type="ResNet_CIFAR", depth=18),
    neck=dict(
        type="bam_mm.BAMProjector",
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
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
train_dataloader = dict(batch_size=512, num_workers=8)
# The online kNN reads all 60,000 images every few epochs.
test_dataloader = dict(num_workers=4)
test_cfg = dict(bank=dict(num_workers=4))

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=3.0),
)
auto_scale_lr = dict(base_batch_size=512)
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
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)
default_hooks = dict(
    checkpoint=dict(interval=10),
    boxes=_base_.boxes,
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)

custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=500),
    # As for the other methods (configs/methods) and in lightly's benchmark.
    dict(
        type="bam_mm.OnlineKNNHook",
        bank_fraction=1.0,
        interval=5,
        first=True,
        k=200,
        temperature=0.1,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
    dict(type="bam_mm.ChannelsLastHook"),
]
