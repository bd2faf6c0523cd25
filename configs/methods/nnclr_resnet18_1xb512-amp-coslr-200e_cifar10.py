# NNCLR (Dwibedi et al., ICCV 2021): projector, predictor, temperature and queue (8,192 for batches
# of 512) of lightly's benchmark.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.NNCLR",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=2048,
        out_channels=256,
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
        queue_size=8192,
        temperature=0.5,
    ),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
