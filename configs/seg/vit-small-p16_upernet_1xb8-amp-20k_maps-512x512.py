# UPerNet on ViT-S/16 for your own maps (docs/your_data.md): iBOT's variant, 20,000 iterations of 8
# crops on one GPU.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/maps.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 3e-5
layer_decay_rate = 0.9
max_iters = 20000
num_classes = _base_.num_classes
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(arch=dict(embed_dims=384, feedforward_channels=1536)),
    neck=dict(embed_dim=384, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[384, 384, 384, 384], channels=384, num_classes=num_classes, norm_cfg=norm_cfg
    ),
    auxiliary_head=dict(in_channels=384, num_classes=num_classes, norm_cfg=norm_cfg),
)
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
