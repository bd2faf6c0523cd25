# BAM on CIFAR-10, or on any folder of 32 px images: a ViT of DeiT-tiny's width with patches of 4
# px, on one GPU. The projector is the paper's for ViT (GELU, no BatchNorm) at half the width.
_base_ = "./bam_resnet18_1xb512-amp-coslr-200e_cifar10.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="MoCoV3ViT",
        arch=dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768),
        img_size=32,
        patch_size=4,
        stop_grad_conv1=True,
    ),
    neck=dict(in_channels=192, act_cfg=dict(type="GELU"), norm=False),
)
