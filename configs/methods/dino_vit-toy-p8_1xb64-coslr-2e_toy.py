# DINO in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="bam_mm.DINO",
    layout=_base_.layout,
    neck=dict(
        type="bam_mm.DINOProjector",
        in_channels=96,
        hid_channels=192,
        bottleneck_channels=64,
        out_channels=256,
    ),
    head=dict(type="bam_mm.DINOHead", out_channels=256),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.9, end_momentum=1.0),
    dict(type="bam_mm.DINOScheduleHook"),
    *_base_.custom_hooks,
]
