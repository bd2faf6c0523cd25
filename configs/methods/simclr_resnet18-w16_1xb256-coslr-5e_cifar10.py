# SimCLR in the short setting: temperature and learning rate are those of the best of nine tries
# (docs/small_scale.md).
_base_ = "../_base_/methods/resnet18-w16_1xb256-coslr-5e_cifar10.py"

model = dict(
    type="bam_mm.SimCLR",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
    ),
    head=dict(type="bam_mm.SimCLRHead", temperature=0.2),
)
optim_wrapper = dict(optimizer=dict(lr=0.24))
# There is no teacher to score.
test_cfg = dict(branch="student")
