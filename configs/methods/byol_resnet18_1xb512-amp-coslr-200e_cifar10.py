# BYOL (Grill et al., NeurIPS 2020): projector, predictor and momentum of lightly's benchmark. The
# momentum is annealed to 1, as in the paper.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.BYOL",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=1024,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
    ),
    predictor=dict(
        type="NonLinearNeck",
        in_channels=256,
        hid_channels=1024,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    *_base_.custom_hooks,
]
