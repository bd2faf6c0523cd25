# UPerNet on aerial photographs with four classes, on a ViT-S/16 that was pretrained with BAM.
# onedl-mmengine finds mmseg:: only once bam_mm is imported; mmengine's own needs just the list.
_base_ = __import__("bam_mm") and [
    "mmseg::_base_/models/upernet_beit.py",
    "mmseg::_base_/schedules/schedule_40k.py",
    "mmseg::_base_/default_runtime.py",
]
custom_imports = dict(imports=["bam_mm"])

data_root = "data/aerial"
metainfo = dict(
    classes=("water", "soil", "forest", "road"),
    palette=[[0, 114, 189], [217, 190, 140], [34, 120, 60], [128, 128, 128]],
)
crop_size = (512, 512)

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseViT",  # the ViT of mmpretrain, with maps of four blocks
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,  # of the pretraining; the position embedding is resized to each image
        patch_size=16,
        blocks=[3, 5, 7, 11],
        norm="all",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="bam_mm.PretrainedBackbone",
            checkpoint="work_dirs/bam_vit-small/epoch_300.pth",
        ),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(num_classes=4, in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(num_classes=4, in_channels=384),
    test_cfg=dict(mode="slide", crop_size=crop_size, stride=(341, 341)),
)

# In these maps 0 is a class (water) and 255 marks pixels without a label.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=False),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 512), keep_ratio=True),
    dict(type="LoadAnnotations", reduce_zero_label=False),
    dict(type="PackSegInputs"),
]
dataset = dict(
    type="BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    img_suffix=".jpg",
    seg_map_suffix=".png",
    reduce_zero_label=False,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path="train/photos", seg_map_path="train/maps"),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path="val/photos", seg_map_path="val/maps"),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.05),
    # Deeper blocks learn faster: the names of mmseg's constructor cover its own backbones only.
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=40000),
]
randomness = dict(seed=0)
