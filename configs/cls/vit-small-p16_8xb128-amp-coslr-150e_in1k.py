# Fine-tuning of ViT-S/16 (12 heads) on ImageNet-1k.
_base_ = "./vit-base-p16_8xb128-amp-coslr-150e_in1k.py"

model = dict(
    backbone=dict(arch=dict(embed_dims=384, feedforward_channels=1536)),
    head=dict(in_channels=384),
)
