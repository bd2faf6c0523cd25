# Cascade Mask R-CNN on ViT-S/16 with BAM's 12 heads; drop path .1 as in iBOT's config for ViT-S.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

model = dict(
    backbone=dict(
        arch=dict(embed_dims=384, feedforward_channels=1536),
        drop_path_rate=0.1,
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=384,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=dict(type="SyncBN", requires_grad=True),
        ),
        dict(type="FPN", in_channels=[384, 384, 384, 384], out_channels=256, num_outs=5),
        dict(type="bam_mm.ToFloat32"),
    ],
)
