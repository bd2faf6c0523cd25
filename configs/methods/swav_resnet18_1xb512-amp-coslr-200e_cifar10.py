# SwAV (Caron et al., NeurIPS 2020): projector, prototypes and Adam of lightly's benchmark; two
# views, no queue.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="bam_mm.SwAV",
    layout=_base_.layout,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=512,
        out_channels=128,
        with_last_bn=False,
        with_last_bias=True,
        with_avg_pool=False,
    ),
    head=dict(type="bam_mm.SwAVHead", channels=128, num_prototypes=512),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="Adam", lr=4e-3, weight_decay=1e-6))
# There is no teacher to score.
test_cfg = dict(branch="student")
