# A linear layer on the frozen ViT-B/16, as in iBOT: the concatenated four maps, a 1x1 convolution,
# AdamW with lr 7e-4. FrozenBackboneHook checks that the backbone does not change.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 7e-4
layer_decay_rate = 1.0
model = dict(
    backbone=dict(drop_path_rate=0.0, frozen=True),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        input_transform="resize_concat",
        channels=3072,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=_base_.num_classes,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.FrozenBackboneHook")]
