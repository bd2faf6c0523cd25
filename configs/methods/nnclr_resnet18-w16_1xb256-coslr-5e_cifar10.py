# NNCLR in the short setting.
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.NNCLR",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
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
    head=dict(
        type="bam_mm.NNCLRHead",
        channels=128,
        queue_size=4096,
        temperature=0.5,
    ),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
