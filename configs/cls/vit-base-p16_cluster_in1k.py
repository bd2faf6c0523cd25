# k-means on ImageNet's validation images of k random classes, 10 draws each (paper, Fig. 7). The
# numbers of classes in the figure are not known; set others with
# --cfg-options test_cfg.num_classes="[10,100,1000]"
_base_ = ["../_base_/datasets/imagenet_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls",
    branch="teacher",
)
test_evaluator = []
test_cfg = dict(
    type="bam_mm.ClusteringLoop",
    num_classes=[10, 20, 50, 100, 200],
    draws=10,
    n_init=10,
    cache_dir=_base_.cache_dir,
)
