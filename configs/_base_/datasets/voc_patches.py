# Pascal VOC 2012 for dense kNN: the 10,582 images of trainaug (with the maps of Hariharan et al.,
# 2011) as the bank, the 1,449 of val; whole images, resized to 512x512 px; maps keep their size.
data_root = "data/VOCdevkit/VOC2012"
num_classes = 21

# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="Resize", scale=(512, 512), keep_ratio=False),
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
    dict(type="PackSegInputs"),
]

_loader = dict(
    batch_size=16, num_workers=8, pin_memory=True, collate_fn=dict(type="pseudo_collate")
)
bank_images = dict(
    **_loader,
    dataset=dict(
        type="PascalVOCDataset",
        data_root=data_root,
        ann_file="ImageSets/Segmentation/trainaug.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassAug"),
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(
        type="PascalVOCDataset",
        data_root=data_root,
        ann_file="ImageSets/Segmentation/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        pipeline=pipeline,
    ),
)
