# The toy world's videos of 96x160 pixels, with the backbone of the toy pretraining. They are read
# as they are: 12x20 patches are coarse, but things have the size that pretraining saw.
_base_ = "./vit-base-p16_label-propagation_davis2017.py"

data_root = "data/toy/davis"
test_dataloader = dict(dataset=dict(data_root=data_root))

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    short_side=96,
    divisor=8,
)
