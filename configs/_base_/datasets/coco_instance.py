# COCO instances with iBOT's multi-scale training: one of two resizing chains, the second with a
# crop. The data sets and the metric come from mmdet's config.
_base_ = "mmdet::_base_/datasets/coco_instance.py"

# Names of classes other than COCO's: --cfg-options metainfo.classes="[cat,dog]" num_classes=2
metainfo = dict()
num_classes = 80
# Boxes alone: --cfg-options with_mask=False metric=bbox model.roi_head.mask_head=None
with_mask = True
metric = ["bbox", "segm"]
_scales = [(short, 1333) for short in range(480, 801, 32)]
# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=with_mask),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomChoice",
        transforms=[
            [dict(type="RandomChoiceResize", scales=_scales, keep_ratio=True)],
            [
                dict(
                    type="RandomChoiceResize",
                    scales=[(400, 1333), (500, 1333), (600, 1333)],
                    keep_ratio=True,
                ),
                dict(
                    type="RandomCrop",
                    crop_type="absolute_range",
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(type="RandomChoiceResize", scales=_scales, keep_ratio=True),
            ],
        ],
    ),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=with_mask),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=2, num_workers=4, dataset=dict(metainfo=metainfo, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=4, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = dict(num_workers=4, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
