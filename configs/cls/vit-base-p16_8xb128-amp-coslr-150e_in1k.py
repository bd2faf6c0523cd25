# Fine-tuning of ViT-B/16 on ImageNet-1k: DeiT's recipe, 150 epochs.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/protocols/finetune.py",
    "../_base_/default_runtime.py",
]

# The position embedding and patch projection, which BAM freezes, are trained here as in DeiT.
model = dict(
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
    ),
    head=dict(num_classes=_base_.num_classes, in_channels=768),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type="bam_mm.RepeatAugSampler", shuffle=True, num_repeats=3),
    dataset=dict(pipeline=_base_.deit_pipeline),
)

custom_hooks = [
    *_base_.custom_hooks,
    # Decay .99996. Both models are evaluated: accuracy/top1 is for the averaged weights and
    # accuracy/top1_origin for the trained weights, which DeiT reports. The checkpoint's state_dict
    # holds the average.
    dict(
        type="EMAHook",
        momentum=4e-5,
        evaluate_on_ema=True,
        evaluate_on_origin=True,
        priority="ABOVE_NORMAL",
    ),
]
