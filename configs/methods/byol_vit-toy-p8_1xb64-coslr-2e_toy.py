# BYOL in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="bam_mm.BYOL",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=96,
        hid_channels=192,
        out_channels=96,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    predictor=dict(
        type="NonLinearNeck",
        in_channels=96,
        hid_channels=192,
        out_channels=96,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.9, end_momentum=1.0),
    *_base_.custom_hooks,
]
