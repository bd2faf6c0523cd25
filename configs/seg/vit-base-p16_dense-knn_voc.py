# Dense kNN on Pascal VOC 2012 (Balažević et al., 2023). The bank has a tenth of the paper's size.
_base_ = ["../_base_/datasets/voc_patches.py", "../_base_/mmseg_runtime.py"]

model = dict(
    type="bam_mm.FrozenMaps",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16),
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
