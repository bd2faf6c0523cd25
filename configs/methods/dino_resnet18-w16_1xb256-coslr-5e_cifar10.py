# DINO in the short setting: the teacher follows faster than in 200 epochs, and its temperature is
# constant.
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.DINO",
    layout=_base_.layout,
    neck=dict(
        type="bam_mm.DINOProjector",
        in_channels=128,
        hid_channels=512,
        bottleneck_channels=128,
        out_channels=512,
        num_layers=2,
        norm=True,
    ),
    head=dict(type="bam_mm.DINOHead", out_channels=512),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.97, end_momentum=0.97),
    dict(type="bam_mm.DINOScheduleHook", freeze_last_layer=0),
    *_base_.custom_hooks,
]
