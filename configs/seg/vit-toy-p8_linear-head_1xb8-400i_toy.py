# A linear layer on the frozen toy ViT, to evaluate its patch features alone.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/toy_ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 1e-3
layer_decay_rate = 1.0
max_iters = 400
crop_size = (96, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
        blocks=[0, 1, 2, 3],
        drop_path_rate=0.0,
        frozen=True,
    ),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=[96, 96, 96, 96],
        in_index=[0, 1, 2, 3],
        input_transform="resize_concat",
        channels=384,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=_base_.num_classes,
        norm_cfg=None,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode="whole"),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
)
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_iters))
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.FrozenBackboneHook")]
