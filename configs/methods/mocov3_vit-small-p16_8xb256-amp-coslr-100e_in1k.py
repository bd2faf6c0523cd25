# MoCo v3 (Chen et al., ICCV 2021): as mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py of
# mmpretrain, for 100 epochs.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

# Two views: the method has no multi-crop.
layout = {**_base_.layout, "num_local": 0}
_base_.train_pipeline[1].update(layout=layout)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

model = dict(
    type="MoCoV3",
    base_momentum=0.01,
    data_preprocessor=dict(layout=layout),
    neck=dict(
        type="NonLinearNeck",
        in_channels=384,
        hid_channels=4096,
        out_channels=256,
        num_layers=3,
        with_last_bn_affine=False,
        with_avg_pool=False,
    ),
    head=dict(
        type="MoCoV3Head",
        predictor=dict(
            type="NonLinearNeck",
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            with_last_bn_affine=False,
            with_avg_pool=False,
        ),
        loss=dict(type="CrossEntropyLoss", loss_weight=0.4),
        temperature=0.2,
    ),
)
