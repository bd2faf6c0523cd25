# The toy world's videos of 120x200 pixels, with the backbone of the toy pretraining. They are read
# as they are, so that things have the size that pretraining saw; a patch of 8 pixels every 4 makes
# 30x50 patches of them.
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
    # The last block whose patch tokens are trained: the loss sees the class token of the fourth.
    stage=2,
)
