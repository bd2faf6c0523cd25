# CIFAR-10: weight decay .1, mixup .8, CutMix 1, drop path .1.
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/protocols/transfer_finetune.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
