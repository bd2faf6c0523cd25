# BAM in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="bam_mm.BAM",
    layout=_base_.layout,
    neck=dict(type="bam_mm.BAMProjector", in_channels=96, hid_channels=384, out_channels=384),
    head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.04),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.9, end_momentum=1.0),
    *_base_.custom_hooks,
]
