# SimCLR in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="bam_mm.SimCLR",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=96,
        hid_channels=192,
        out_channels=96,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.SimCLRHead", temperature=0.2),
)
# There is no teacher to score.
test_cfg = dict(branch="student")
