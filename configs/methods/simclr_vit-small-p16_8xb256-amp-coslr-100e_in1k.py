# SimCLR (Chen et al., ICML 2020): the projector of MoCo v3 and temperature .2, as in MoCo v3's
# comparison of frameworks.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

# Two views: the method has no multi-crop.
layout = {**_base_.layout, "num_local": 0}
_base_.train_pipeline[1].update(layout=layout)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

model = dict(
    type="bam_mm.SimCLR",
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
    head=dict(type="bam_mm.SimCLRHead", temperature=0.2),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
