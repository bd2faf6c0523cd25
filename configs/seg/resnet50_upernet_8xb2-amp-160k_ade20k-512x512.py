# UPerNet on ResNet-50 with the same data and length as the other backbones; SGD as in mmseg's
# UPerNet. Its BatchNorm is trained and synchronised, and no stage is frozen.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 0.01
layer_decay_rate = 1.0
model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseResNet",
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
    ),
    neck=None,
    decode_head=dict(in_channels=[256, 512, 1024, 2048], channels=512),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=lr, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
)
param_scheduler = [
    dict(type="PolyLR", power=0.9, eta_min=1e-4, by_epoch=False, begin=0, end=_base_.max_iters)
]
