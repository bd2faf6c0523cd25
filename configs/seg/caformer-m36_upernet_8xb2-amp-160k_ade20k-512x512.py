# UPerNet on the four stages of CAFormer-M36 as pretrained by BAM. There is no published layer
# decay: .87 over 36 blocks ends at about the same factor as .65 over the 12 blocks of a ViT (.004
# to .006).
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
