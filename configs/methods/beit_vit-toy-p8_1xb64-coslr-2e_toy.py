# BEiT in the toy world, with visual words of 4x4 pixels at half the resolution as its tokens.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=_base_.on_error),
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResizedCropAndInterpolationWithTwoPic",
        size=48,
        second_size=24,
        interpolation="bicubic",
        second_interpolation="lanczos",
        scale=(0.25, 1.0),
    ),
    dict(
        type="bam_mm.BlockMask",
        input_size=6,
        num_masking_patches=14,
        min_num_patches=3,
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="BEiT",
    backbone=dict(
        _delete_=True,
        type="BEiTPretrainViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
        drop_path_rate=0.1,
        final_norm=True,
        out_type="raw",
        layer_scale_init_value=0.1,
        init_cfg=[
            dict(type="TruncNormal", std=0.02, layer="Linear"),
            dict(type="TruncNormal", std=0.02, layer="Conv2d"),
            dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
        ],
    ),
    neck=None,
    head=dict(
        type="BEiTV1Head",
        embed_dims=96,
        num_embed=256,
        loss=dict(type="CrossEntropyLoss"),
    ),
    # Not the published tokenizer, which has no weights for such small images.
    target_generator=dict(type="bam_mm.VisualWords", num_words=256, patch_size=4),
    data_preprocessor=dict(
        _delete_=True,
        type="bam_mm.TwoNormPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[123.675, 116.28, 103.53],
        second_std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
optim_wrapper = dict(
    optimizer=dict(betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(
            q_bias=dict(decay_mult=0.0),
            v_bias=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
            gamma=dict(decay_mult=0.0),
        ),
    ),
)
test_cfg = dict(branch="student")
# There are no projections of views that could collapse.
custom_hooks = [
    dict(type="bam_mm.VisualWordsHook", num_images=1000),
    *(h for h in _base_.custom_hooks if h["type"] != "bam_mm.CollapseMonitorHook"),
]
