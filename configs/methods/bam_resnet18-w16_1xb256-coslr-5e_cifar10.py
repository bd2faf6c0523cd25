# BAM in the short setting: temperatures and teacher of
# bam_resnet18-w16_1xb256-coslr-8e_cifar10.py; the learning rate is that of the best of nine tries
# (docs/small_scale.md).
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.BAM",
    layout=_base_.layout,
    neck=dict(
        type="bam_mm.BAMProjector",
        in_channels=128,
        hid_channels=512,
        out_channels=512,
        act_cfg=dict(type="ReLU"),
        norm=True,
    ),
    head=dict(type="bam_mm.BAMHead", temperature=0.2, target_temperature=0.1),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-2, weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.97, end_momentum=1.0),
    *_base_.custom_hooks,
]
