# Linear probe on CIFAR-10 as a folder, or on any folder of 32 px images, with a small ViT: [CLS]
# and the mean patch, as BAM's linear probe has it.
_base_ = "./resnet18-w16_1xb128-linear-coslr-4e_cifar10.py"

feature_channels = 192
model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=32,
        patch_size=4,
    ),
    feature="cls+mean",
    neck=dict(input_features=feature_channels),
    head=dict(in_channels=feature_channels),
)
