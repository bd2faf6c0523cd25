# Linear probes of ViT-B/16 with 60 settings in one training: [CLS], the mean patch or the [CLS] of
# the last four blocks, ten learning rates and two weight decays. The setting is chosen on a tenth
# of the training images, which no head is trained on.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/linear_many.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    head=dict(num_classes=_base_.num_classes),
    in_channels=768,
)
_split = dict(val_fraction=_base_.val_fraction, split_seed=_base_.split_seed)
_held_out = dict(split="train", part="val", **_split)
train_dataloader = dict(dataset=dict(part="train", **_split))
val_dataloader = dict(dataset=_held_out)
val_evaluator = dict(_delete_=True, type="bam_mm.ManyLinearProbesAccuracy")
test_cfg = dict(
    type="bam_mm.ManyLinearProbesLoop",
    val={**_base_.val_dataloader, "dataset": {**_base_.val_dataloader.dataset, **_held_out}},
)
