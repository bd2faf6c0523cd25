# Cascade Mask R-CNN on a few hundred COCO images without a GPU: the toy config's narrow heads on a
# small ViT/16, images of 320 px. It only shows that everything works on photographs.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

lr = 5e-4
max_epochs = 12
num_classes = _base_.num_classes
norm_cfg = dict(type="BN", requires_grad=True)
width = 64
model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=224,
        patch_size=16,
        blocks=[0, 1, 2, 3],
        drop_path_rate=0.1,
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=96,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=norm_cfg,
        ),
        dict(
            type="FPN",
            in_channels=[96, 96, 96, 96],
            out_channels=width,
            num_outs=4,
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
        bbox_roi_extractor=dict(out_channels=width),
        mask_roi_extractor=dict(out_channels=width),
        bbox_head=[
            dict(
                head,
                num_shared_convs=1,
                in_channels=width,
                conv_out_channels=width,
                fc_out_channels=256,
                num_classes=num_classes,
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
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=[
            dict(stage, sampler=dict(stage.sampler, num=64))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=_base_.layer_decay_rate),
)
auto_scale_lr = dict(base_batch_size=4)
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
_size = dict(type="Resize", scale=(320, 320), keep_ratio=True)
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=_base_.with_mask),
    _size,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=_base_.orientation),
    _size,
    dict(type="LoadAnnotations", with_bbox=True, with_mask=_base_.with_mask),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(logger=dict(interval=5))
