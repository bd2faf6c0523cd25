# Your own images and semantic maps for dense kNN (docs/your_data.md). A config sets data_root,
# data_prefix, the names of the classes in metainfo, and reduce_zero_label in both data sets.
data_root = "data/maps"
# False: 0 is a class. True: 0 is unlabelled, and classes count from 1.
reduce_zero_label = None
# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="Resize", scale=(512, 512), keep_ratio=False),
    dict(type="bam_mm.LoadSemanticMap"),
    dict(type="PackSegInputs"),
]

_loader = dict(batch_size=16, num_workers=4, collate_fn=dict(type="pseudo_collate"))
bank_images = dict(
    **_loader,
    dataset=dict(
        type="BaseSegDataset",
        reduce_zero_label=reduce_zero_label,
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(
        type="BaseSegDataset",
        reduce_zero_label=reduce_zero_label,
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        pipeline=pipeline,
    ),
)
