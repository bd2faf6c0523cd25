# k-means on the toy world's val images, 2 to 9 classes.
_base_ = ["../_base_/datasets/toy_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(
        type="mmpretrain.MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    feature="cls",
    branch="teacher",
)
test_evaluator = []
test_cfg = dict(
    type="bam_mm.ClusteringLoop",
    num_classes=[2, 3, 5, 7, 9],
    draws=10,
    n_init=10,
    cache_dir=_base_.cache_dir,
)
