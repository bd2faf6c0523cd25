# BYOL (the short setting): the teacher follows faster than in 200 epochs, and the weight decay is
# that of the best of nine tries (docs/small_scale.md).
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.BYOL",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
    ),
    predictor=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.97, end_momentum=1.0),
    *_base_.custom_hooks,
]
