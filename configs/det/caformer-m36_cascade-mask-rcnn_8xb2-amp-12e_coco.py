# Cascade Mask R-CNN on CAFormer-M36 as pretrained by BAM; the FPN takes its four stages directly.
# There is no published layer decay: .9 over 36 blocks ends at the same factor as .75 over the 12
# blocks of a ViT (.02).
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

layer_decay_rate = 0.9
model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseCAFormer",
        model_name="caformer_m36",
        drop_path_rate=0.2,
        activation_checkpointing=False,
    ),
    neck=[
        dict(type="FPN", in_channels=[96, 192, 384, 576], out_channels=256, num_outs=5),
        dict(type="bam_mm.ToFloat32"),
    ],
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
