# Cascade Mask R-CNN in the toy world on the toy pretraining's ViT, a few minutes on two cores:
# heads of a quarter of the width, few boxes, four levels with strides of 4 to 32 px. Batches of two
# allow many steps in little time. It shows that all parts work together; 400 scenes are enough to
# learn the shapes from random weights, so pretraining makes no difference.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/toy_coco.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

lr = 4e-4
max_epochs = 8
num_classes = _base_.num_classes
norm_cfg = dict(type="BN", requires_grad=True)
width = 64
model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
        blocks=[0, 1, 2, 3],
        norm="all",  # The blocks' outputs differ in scale; a short training cannot balance them.
        drop_path_rate=0.0,
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=96,
            rescales=[2, 1, 0.5, 0.25],
            norm_cfg=norm_cfg,
        ),
        dict(
            type="FPN",
            in_channels=[96, 96, 96, 96],
            out_channels=width,
            num_outs=4,
            # Without it, the sums of the levels are large and AdamW's first steps ruin the heads.
            norm_cfg=norm_cfg,
        ),
        dict(type="bam_mm.ToFloat32"),
    ],
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        anchor_generator=dict(strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        # Objects are 15 to 60 px large, so the finest scale is a quarter of COCO's 56.
        bbox_roi_extractor=dict(out_channels=width, finest_scale=14),
        mask_roi_extractor=dict(out_channels=width, finest_scale=14, roi_layer=dict(output_size=7)),
        bbox_head=[
            dict(
                head,
                num_shared_convs=0,
                in_channels=width,
                conv_out_channels=width,
                fc_out_channels=256,
                num_classes=num_classes,
                reg_class_agnostic=True,
                norm_cfg=norm_cfg,
            )
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(
            num_convs=2, in_channels=width, conv_out_channels=width, num_classes=num_classes
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=50),
        # With the default of 512 boxes per image, the mask head would need seconds per step.
        rcnn=[
            dict(stage, mask_size=14, sampler=dict(stage.sampler, num=24, pos_fraction=0.5))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)),
)

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=_base_.layer_decay_rate),
    clip_grad=dict(max_norm=1.0),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
# Only one checkpoint: the training is short, and a resumed one would draw the data differently.
default_hooks = dict(checkpoint=dict(interval=max_epochs))
