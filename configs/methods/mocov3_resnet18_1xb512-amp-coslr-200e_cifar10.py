# MoCo v3 (Chen et al., ICCV 2021): projector, predictor, temperature and momentum of solo-learn's
# scripts/pretrain/cifar/mocov3.yaml.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.MoCoV3",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=4096,
        out_channels=256,
        with_last_bn_affine=False,
    ),
    predictor=dict(
        type="NonLinearNeck",
        in_channels=256,
        hid_channels=4096,
        out_channels=256,
        with_last_bn=False,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.MoCoV3Head", temperature=0.2),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    *_base_.custom_hooks,
]
