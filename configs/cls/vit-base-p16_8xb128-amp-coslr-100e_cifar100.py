# CIFAR-100: weight decay .1, mixup .5, CutMix 1, drop path .1.
_base_ = [
    "../_base_/datasets/cifar100.py",
    "../_base_/protocols/transfer_finetune.py",
    "../_base_/default_runtime.py",
]

model = dict(
    head=dict(num_classes=_base_.num_classes),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.5), dict(type="CutMix", alpha=1.0)]),
)
