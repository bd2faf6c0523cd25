# MoCo v3 in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="MoCoV3",
    base_momentum=0.1,
    neck=dict(
        type="NonLinearNeck",
        in_channels=96,
        hid_channels=192,
        out_channels=96,
        with_last_bn_affine=False,
        with_avg_pool=False,
    ),
    head=dict(
        type="MoCoV3Head",
        predictor=dict(
            type="NonLinearNeck",
            in_channels=96,
            hid_channels=192,
            out_channels=96,
            with_last_bn_affine=False,
            with_avg_pool=False,
        ),
        loss=dict(type="CrossEntropyLoss", loss_weight=0.4),
        temperature=0.2,
    ),
)
