# kNN on ImageNet-1k, DINO's protocol: [CLS] of the last block, the training set as the bank.
_base_ = ["../_base_/datasets/imagenet_features.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.FrozenFeatures",
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    feature="cls",
    branch="teacher",
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict(
    type="bam_mm.KNNTestLoop",
    bank=_base_.train_images,
    k=[10, 20, 100, 200],
    temperature=0.07,
    cache_dir=_base_.cache_dir,
)
