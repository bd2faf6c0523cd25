# UPerNet on CAFormer-M36 as BAM pretrains it, its four stages as they are. Layer decay .87 over 36
# blocks spans what .65 spans over the 12 of a ViT: .004 to .006; there is no published setting.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

layer_decay_rate = 0.87
model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseCAFormer",
        model_name="caformer_m36",
        drop_path_rate=0.1,
        activation_checkpointing=False,
    ),
    neck=None,
    decode_head=dict(in_channels=[96, 192, 384, 576], channels=512),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
