# UPerNet on ViT-S/16 with BAM's 12 heads, iBOT's variant: lr 3e-5 and layer decay .9 are from its
# released config for ViT-S.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 3e-5
layer_decay_rate = 0.9
model = dict(
    backbone=dict(arch=dict(embed_dims=384, feedforward_channels=1536)),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
