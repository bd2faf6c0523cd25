# NNCLR (Dwibedi et al., ICCV 2021): projector, predictor, queue and temperature of the paper, which
# trained ResNet-50 only; the optimizer is MoCo v3's for ViTs.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

# Two views: the method has no multi-crop.
layout = {**_base_.layout, "num_local": 0}
_base_.train_pipeline[1].update(layout=layout)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

model = dict(
    type="bam_mm.NNCLR",
    layout=layout,
    data_preprocessor=dict(layout=layout),
    neck=dict(
        type="NonLinearNeck",
        in_channels=384,
        hid_channels=2048,
        out_channels=256,
        num_layers=3,
        with_avg_pool=False,
    ),
    predictor=dict(
        type="NonLinearNeck",
        in_channels=256,
        hid_channels=4096,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    head=dict(
        type="bam_mm.NNCLRHead",
        channels=256,
        queue_size=98304,
        temperature=0.1,
        negatives="other",
    ),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
