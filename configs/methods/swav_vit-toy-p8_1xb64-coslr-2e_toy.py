# SwAV in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="bam_mm.SwAV",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=96,
        hid_channels=192,
        out_channels=64,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.SwAVHead", channels=64, num_prototypes=64),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
