# UPerNet on ViT-B/16, MAE's (and BEiT's) variant: no final norm, lr 1e-4, layer decay .65.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]

lr = 1e-4
model = dict(backbone=dict(norm="none"))
optim_wrapper = dict(optimizer=dict(lr=lr))
