# Dense kNN on Pascal VOC 2012 with ResNet-50 and its last map, one patch for 32x32 pixels.
_base_ = ["../_base_/datasets/voc_patches.py", "../_base_/mmseg_runtime.py"]

model = dict(
    type="bam_mm.FrozenMaps",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="mmpretrain.ResNet", depth=50),
    stage=3,
    branch="teacher",
)
test_cfg = dict(
    type="bam_mm.DenseKNNTestLoop",
    bank=_base_.bank_images,
    bank_size=1_024_000,
    k=30,
    temperature=0.02,
)
