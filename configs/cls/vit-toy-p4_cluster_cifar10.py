# k-means with a small ViT on CIFAR-10's test images; the feature is [CLS] of the last block.
_base_ = "./resnet18-w16_cluster_cifar10.py"

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
