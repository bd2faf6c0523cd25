# BYOL (Grill et al., NeurIPS 2020): projector and predictor of lightly's benchmark, momentum .99.
# mmpretrain anneals it to 1, as the paper does; lightly keeps it.
_base_ = "../_base_/methods/resnet18_1xb512-coslr-200e_cifar10.py"

model = dict(
    type="BYOL",
    base_momentum=0.01,
    neck=dict(
        type="NonLinearNeck",
        in_channels=512,
        hid_channels=1024,
        out_channels=256,
        with_last_bn=False,
        with_last_bias=True,
    ),
    head=dict(
        type="LatentPredictHead",
        predictor=dict(
            type="NonLinearNeck",
            in_channels=256,
            hid_channels=1024,
            out_channels=256,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
        ),
        loss=dict(type="CosineSimilarityLoss"),
    ),
)
