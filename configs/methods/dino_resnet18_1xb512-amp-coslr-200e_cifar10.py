# DINO (Caron et al., ICCV 2021): projector and temperatures of lightly's benchmark, where no layer
# is frozen and the momentum is .99 throughout.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.DINO",
    layout=_base_.layout,
    neck=dict(
        type="bam_mm.DINOProjector",
        in_channels=512,
        hid_channels=2048,
        bottleneck_channels=256,
        out_channels=2048,
        num_layers=2,
        norm=True,
    ),
    head=dict(type="bam_mm.DINOHead", out_channels=2048),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=0.99),
    dict(type="bam_mm.DINOScheduleHook", freeze_last_layer=0),
    *_base_.custom_hooks,
]
