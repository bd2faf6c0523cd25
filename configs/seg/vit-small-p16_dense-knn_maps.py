# Dense kNN on your own maps with ViT-S/16 (docs/your_data.md).
_base_ = ["../_base_/datasets/maps_patches.py", "../_base_/mmseg_runtime.py"]

model = dict(
    type="bam_mm.FrozenMaps",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="mocov3-small", img_size=224, patch_size=16),
    stage=None,  # The last map.
    branch="teacher",
)
test_cfg = dict(
    type="bam_mm.DenseKNNTestLoop",
    bank=_base_.bank_images,
    bank_size=1_024_000,
    k=30,
    temperature=0.02,
)
