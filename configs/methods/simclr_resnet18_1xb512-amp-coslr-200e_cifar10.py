# SimCLR (Chen et al., ICML 2020): projector and temperature of lightly's benchmark, which are the
# paper's for CIFAR-10 (appendix B.9).
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.SimCLR",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=512,
        out_channels=128,
    ),
    head=dict(type="bam_mm.SimCLRHead", temperature=0.5),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
