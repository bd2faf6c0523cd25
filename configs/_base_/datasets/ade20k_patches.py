# ADE20K for dense kNN: whole images, resized to 512x512 px; maps keep their size.
data_root = "data/ade/ADEChallengeData2016"
num_classes = 150

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
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=pipeline,
    ),
)
