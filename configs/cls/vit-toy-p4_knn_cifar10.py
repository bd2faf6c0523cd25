# kNN with a small ViT on CIFAR-10 as a folder of 32 px images; the feature is [CLS] of the last
# block.
_base_ = "./resnet18-w16_knn_cifar10.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=32,
        patch_size=4,
    ),
    feature="cls",
)
