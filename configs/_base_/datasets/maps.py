# Your own images and semantic maps (docs/your_data.md). A config sets data_root, data_prefix, the
# names of the classes in metainfo, and reduce_zero_label in every data set; otherwise a run stops.
data_root = "data/maps"
num_classes = 2
# False: 0 is a class. True: 0 is unlabelled, and classes count from 1.
reduce_zero_label = None
crop_size = (512, 512)
scale = (2048, 512)

# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="bam_mm.LoadSemanticMap"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="bam_mm.LoadSemanticMap"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        reduce_zero_label=reduce_zero_label,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        reduce_zero_label=reduce_zero_label,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
