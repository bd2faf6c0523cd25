# Linear probes with 36 settings in one training of four epochs in the toy world. The setting is
# chosen on a tenth of the training images, which no head is trained on.
_base_ = [
    "../_base_/datasets/toy.py",
    "../_base_/protocols/linear_many.py",
    "../_base_/default_runtime.py",
]

max_epochs = 4
model = dict(
    backbone=dict(
        type="MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    head=dict(num_classes=_base_.num_classes),
    in_channels=96,
    learning_rates=[0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
)
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, begin=0, end=max_epochs)
]
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
_split = dict(val_fraction=_base_.val_fraction, split_seed=_base_.split_seed)
_held_out = dict(split="train", part="val", **_split)
train_dataloader = dict(dataset=dict(part="train", **_split))
val_dataloader = dict(dataset=_held_out)
val_evaluator = dict(_delete_=True, type="bam_mm.ManyLinearProbesAccuracy")
test_cfg = dict(
    type="bam_mm.ManyLinearProbesLoop",
    val={**_base_.val_dataloader, "dataset": {**_base_.val_dataloader.dataset, **_held_out}},
)
