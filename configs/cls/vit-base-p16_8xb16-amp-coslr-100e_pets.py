# Pets: batch 128, weight decay .1, mixup .8, no CutMix, no drop path.
_base_ = [
    "../_base_/datasets/pets.py",
    "../_base_/protocols/transfer_finetune_bs128.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(drop_path_rate=0.0),
    head=dict(num_classes=_base_.num_classes),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8)]),
)
train_dataloader = dict(batch_size=16)
