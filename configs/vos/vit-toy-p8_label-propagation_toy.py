# The toy world's videos of 120x200 pixels with the backbone of the toy pretraining. The frames are
# not resized, so that objects have the same size as in pretraining; patches of 8 pixels with a
# stride of 4 make a map of 30x50.
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
    short_side=120,
    divisor=8,
    stride=4,
    # The third block is the last with trained patch tokens: the loss uses only [CLS] of the fourth.
    stage=2,
)
