# Dense kNN in the toy world on the toy pretraining's ViT, seconds on two cores.
_base_ = [
    "../_base_/datasets/toy_patches.py",
    "../_base_/protocols/dense_knn.py",
    "../_base_/mmseg_runtime.py",
]

model = dict(
    backbone=dict(
        type="mmpretrain.MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    # The third block is the last with trained patch tokens: the loss uses only [CLS] of the fourth.
    stage=2,
)
test_cfg = dict(bank=_base_.bank_images, bank_size=20_000)
