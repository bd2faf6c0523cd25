# BAM (Shalam and Korman, ECCV 2024): BatchNorm in the projector, and softer temperatures than the
# paper's, which are for batches of 4,096.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.BAM",
    layout=_base_.layout,
    neck=dict(
        type="bam_mm.BAMProjector",
        in_channels=512,
        hid_channels=2048,
        out_channels=2048,
        act_cfg=dict(type="ReLU"),
        norm=True,
    ),
    head=dict(type="bam_mm.BAMHead", temperature=0.2, target_temperature=0.1),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.04, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=190,
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=200,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    *_base_.custom_hooks,
]
