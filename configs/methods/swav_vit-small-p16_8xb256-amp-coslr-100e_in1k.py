# SwAV (Caron et al., NeurIPS 2020) with 2 + 6 crops: the projector of the authors, which trained
# ResNet-50 only. Their prototypes are frozen in the first 313 iterations; here they are not.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

model = dict(
    type="bam_mm.SwAV",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=384,
        hid_channels=2048,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.SwAVHead", channels=128, num_prototypes=3000),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
