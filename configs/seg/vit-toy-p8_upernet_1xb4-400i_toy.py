# UPerNet in the toy world on the toy pretraining's ViT, a minute on two cores.
_base_ = [
    "../_base_/models/upernet_vit-toy-p8.py",
    "../_base_/datasets/toy_ade20k.py",
    "../_base_/protocols/segmentation_400i.py",
    "../_base_/mmseg_runtime.py",
]

crop_size = (96, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
train_dataloader = dict(batch_size=4)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=_base_.max_iters))
