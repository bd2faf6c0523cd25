# MoCo v3 (Chen et al., ICCV 2021): projector, predictor, temperature and momentum of solo-learn's
# scripts/pretrain/cifar/mocov3.yaml. Its loss is multiplied by 2 x temperature (the paper).
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="MoCoV3",
    base_momentum=0.01,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=4096,
        out_channels=256,
        with_last_bn_affine=False,
    ),
    head=dict(
        type="MoCoV3Head",
        predictor=dict(
            type="NonLinearNeck",
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            with_last_bn=False,
            with_avg_pool=False,
        ),
        loss=dict(type="CrossEntropyLoss", loss_weight=0.4),
        temperature=0.2,
    ),
)
