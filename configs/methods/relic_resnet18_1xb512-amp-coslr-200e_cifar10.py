# ReLIC (Mitrovic et al., ICLR 2021): alpha 1 and momentum .99 as in filipbasara0/relic. The critic
# has the size of BYOL's projector and the temperature is that of MoCo v3, both without a source.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.ReLIC",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=1024,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
    ),
    head=dict(type="bam_mm.ReLICHead", temperature=0.2, invariance_weight=1.0),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    *_base_.custom_hooks,
]
