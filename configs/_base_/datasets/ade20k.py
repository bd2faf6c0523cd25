# ADE20K with 150 classes. Its maps count the classes from 1; 0 is unlabelled (reduce_zero_label).
data_root = "data/ade/ADEChallengeData2016"
num_classes = 150
crop_size = (512, 512)
scale = (2048, 512)

# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
train_pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
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
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
