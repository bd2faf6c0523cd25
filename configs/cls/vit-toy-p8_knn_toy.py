# kNN of the toy pretraining's ViT on the toy world, with all training images as the bank.
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
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict(
    type="bam_mm.KNNTestLoop",
    bank=_base_.train_images,
    k=[10, 20, 100, 200],
    temperature=0.07,
    cache_dir=_base_.cache_dir,
)
