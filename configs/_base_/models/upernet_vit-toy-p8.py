# UPerNet on the toy pretraining's ViT: heads of a twelfth of the width, four levels with strides of
# 4 to 32 px, whole images. A config sets the size of the images and the number of classes.
_base_ = "./upernet_vit-p16.py"

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
        blocks=[0, 1, 2, 3],
    ),
    neck=dict(embed_dim=96, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[96, 96, 96, 96], channels=64, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=96, channels=32, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)
