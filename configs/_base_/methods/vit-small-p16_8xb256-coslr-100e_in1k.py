# What all methods share on ImageNet-1k: ViT-S/16, 100 epochs, batch 2,048 (the setting of the BAM
# paper's Table 10). Learning rate (1.5e-4 for 256 images), weight decay (.1) and the frozen patch
# projection are MoCo v3's for ViTs, of which norms and biases are not decayed here, and which warms
# up for 40 of 300 epochs. DINO and BAM have their own.
_base_ = ["../datasets/imagenet_bam.py", "../default_runtime.py"]

max_epochs = 100
warmup_epochs = 10
model = dict(
    backbone=dict(
        type="MoCoV3ViT",
        arch="mocov3-small",
        img_size=224,
        patch_size=16,
        stop_grad_conv1=True,
    ),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=_base_.layout,
        photometric_place=_base_.photometric_place,
        non_blocking=True,
    ),
)

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=1.2e-3, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
)
auto_scale_lr = dict(base_batch_size=2048)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-4,
        by_epoch=True,
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
# BatchNorm of projectors over all GPUs.
sync_bn = "torch"

custom_hooks = [
    dict(type="bam_mm.OnlineKNNHook", k=20, bank_fraction=0.1, interval=10),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=2000),
    dict(type="bam_mm.SkippedImagesHook"),
]
default_hooks = dict(
    checkpoint=dict(interval=5),
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)
