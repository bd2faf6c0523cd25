# MoCo v3 (Chen et al., ICCV 2021): projector, predictor and temperature of
# mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py in mmpretrain.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

# Two views: the method has no multi-crop.
layout = {**_base_.layout, "num_local": 0}
_base_.train_pipeline[1].update(layout=layout)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

model = dict(
    type="bam_mm.MoCoV3",
    layout=layout,
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
    predictor=dict(
        type="NonLinearNeck",
        in_channels=256,
        hid_channels=4096,
        out_channels=256,
        with_last_bn_affine=False,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.MoCoV3Head", temperature=0.2),
)
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.99, end_momentum=1.0),
    *_base_.custom_hooks,
]
