# Flowers: batch 128, weight decay .3, erasing .25, no mixing, drop path .1.
_base_ = [
    "../_base_/datasets/flowers.py",
    "../_base_/protocols/transfer_finetune_bs128.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=_base_.num_classes), train_cfg=None)
optim_wrapper = dict(optimizer=dict(weight_decay=0.3))
_erasing = dict(
    type="RandomErasing",
    erase_prob=0.25,
    mode="rand",
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=[103.53, 116.28, 123.675],
    fill_std=[57.375, 57.12, 58.395],
)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(pipeline=[*_base_.train_pipeline[:-1], _erasing, _base_.train_pipeline[-1]]),
)
