# SwAV in the short setting, with Adam at the learning rate of lightly for 256 images.
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.SwAV",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.SwAVHead", channels=128, num_prototypes=256),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="Adam", lr=2e-3, weight_decay=1e-6))
# There is no teacher to score.
test_cfg = dict(branch="student")
