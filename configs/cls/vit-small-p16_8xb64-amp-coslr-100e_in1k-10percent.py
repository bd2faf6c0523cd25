# Semi-supervised, ViT-S/16, 10 % of the labels.
_base_ = "./vit-small-p16_8xb64-amp-coslr-100e_in1k-1percent.py"

subset = "subsets/10percent.txt"
train_dataloader = dict(dataset=dict(subset=subset))
