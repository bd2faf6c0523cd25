# BAM, ResNet-50, 300 epochs on ImageNet-1k: LARS, learning rate .3, weight decay 1e-6 and a warm-up
# of 10 epochs (Table 9a). These are the settings of MoCo v3 and SimCLR, where .3 belongs to 256
# images, which makes .3 x 4096 / 256 = 4.8 for the batch of 4096. The paper only has "linear
# scaling rule", and there is no released script for ResNet-50; the config that ends in -lr0.3 takes
# .3 literally. docs/faithfulness.md has the reasons. Momentum (.9) and the exclusion of biases and
# norms from decay and scaling are those of these methods. The gradient clipping of the table is
# kept, although they do not clip: LARS divides by the norm of a gradient, so that clipping only
# concerns biases and norms.
_base_ = [
    "../_base_/datasets/imagenet_bam.py",
    "../_base_/models/bam_vit-p16.py",
    "../_base_/schedules/bam_adamw_bs4096.py",
    "../_base_/default_runtime.py",
]

max_epochs = 300
warmup_epochs = 10
layout = _base_.layout

model = dict(
    layout=layout,
    backbone=dict(_delete_=True, type="ResNet", depth=50, zero_init_residual=True),
    neck=dict(in_channels=2048, act_cfg=dict(type="ReLU")),
    data_preprocessor=dict(layout=layout, photometric_place=_base_.photometric_place),
)
# BatchNorm statistics over all processes: 16 processes x 256 images then equal one with 4096.
sync_bn = "torch"

_plain = dict(decay_mult=0.0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="bam_mm.LARS", lr=4.8, momentum=0.9, weight_decay=1e-6),
    paramwise_cfg=dict(
        _delete_=True, custom_keys={".bn": _plain, ".downsample.1": _plain, ".bias": _plain}
    ),
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
    dict(type="bam_mm.ChannelsLastHook"),
]
