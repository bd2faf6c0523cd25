# UPerNet on ViT-B/16, iBOT's variant: the final norm on all four maps, lr 8e-5, layer decay .65.
_base_ = [
    "../_base_/models/upernet_vit-p16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/protocols/segmentation_160k.py",
    "../_base_/mmseg_runtime.py",
]
