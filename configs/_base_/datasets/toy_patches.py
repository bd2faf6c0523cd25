# The toy world's scenes with several objects, 96x128 px, as class maps for dense kNN; class 1 is
# the background.
data_root = "data/toy/ade20k"
num_classes = 10
metainfo = dict(
    classes=(
        "background",
        "plain_disk",
        "stripes_square",
        "checker_triangle",
        "dots_diamond",
        "grid_star",
        "diagonal_cross",
        "zigzag_ring",
        "rings_hexagon",
        "bricks_square",
    ),
    palette=[
        [40, 40, 40],
        [230, 25, 75],
        [60, 180, 75],
        [255, 225, 25],
        [0, 130, 200],
        [245, 130, 48],
        [145, 30, 180],
        [70, 240, 240],
        [240, 50, 230],
        [210, 245, 60],
    ],
)

# What annotation belongs to where Exif turns a photograph and sizes do not tell: "stored" or
# "upright" pixels; "auto" stops at such an image.
orientation = "auto"
pipeline = [
    dict(type="bam_mm.CheckImage"),
    dict(type="LoadImageFromFile"),
    dict(type="bam_mm.MatchAnnotation", orientation=orientation),
    dict(type="Resize", scale=(128, 96), keep_ratio=False),
    dict(type="bam_mm.LoadSemanticMap", num_classes=num_classes),
    dict(type="PackSegInputs"),
]

_loader = dict(batch_size=20, num_workers=1, collate_fn=dict(type="pseudo_collate"))
bank_images = dict(
    **_loader,
    dataset=dict(
        type="BaseSegDataset",
        reduce_zero_label=True,
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(
        type="BaseSegDataset",
        reduce_zero_label=True,
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=pipeline,
    ),
)
