# BAM, ViT-B/16, 300 epochs on ImageNet-1k: the paper's Table 9a.
# Where the table is silent (temperatures, Sinkhorn iterations, momentum, last learning rate) the
# released code's default stands; docs/faithfulness.md lists every such choice.
_base_ = ["../_base_/datasets/imagenet_bam.py", "../_base_/default_runtime.py"]

max_epochs = 300
warmup_epochs = 40
layout = _base_.layout

model = dict(
    type="bam_mm.BAM",
    layout=layout,
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(type="bam_mm.BAMProjector", in_channels=768, hid_channels=4096, out_channels=4096),
    head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.05, sinkhorn_iters=3),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=layout,
        photometric_place=_base_.photometric_place,
    ),
)

# 16 GPUs x 256 = 4096 images.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.999), weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=0.3),
)
auto_scale_lr = dict(base_batch_size=4096)
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
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))

custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.995, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=2000),
    dict(
        type="bam_mm.OnlineKNNHook",
        bank=_base_.knn_bank,
        queries=_base_.knn_queries,
        k=20,
        bank_fraction=0.1,
        interval=20,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
]
