# Semi-supervised, ViT-B/16, 10 % of the labels.
_base_ = "./vit-small-p16_8xb64-amp-coslr-100e_in1k-1percent.py"

subset = "subsets/10percent.txt"
model = dict(
    backbone=dict(arch=dict(embed_dims=768, feedforward_channels=3072)),
    head=dict(in_channels=768),
)
train_dataloader = dict(dataset=dict(subset=subset))
