# Cascade Mask R-CNN with iBOT's heads (4conv1fc, SyncBN, class-specific boxes, GIoU) on ViT-B/16:
# the maps of four blocks form a feature pyramid for the FPN. The RPN, the mask head, matching and
# testing come from mmdet's config.
_base_ = "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py"

norm_cfg = dict(type="SyncBN", requires_grad=True)

model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseViT",
        arch=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
        img_size=224,
        patch_size=16,
        blocks=[3, 5, 7, 11],
        norm="none",
        drop_path_rate=0.2,
        activation_checkpointing=False,
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=768,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=norm_cfg,
        ),
        dict(type="FPN", in_channels=[768, 768, 768, 768], out_channels=256, num_outs=5),
        # Box coordinates need more precision than mixed precision has.
        dict(type="bam_mm.ToFloat32"),
    ],
    roi_head=dict(
        bbox_head=[
            dict(
                type="ConvFCBBoxHead",
                num_shared_convs=4,
                num_shared_fcs=1,
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder",
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=[xy, xy, wh, wh],
                ),
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                norm_cfg=norm_cfg,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="GIoULoss", loss_weight=10.0),
            )
            for xy, wh in ((0.1, 0.2), (0.05, 0.1), (0.033, 0.067))
        ],
        mask_head=dict(num_classes=80),
    ),
)
