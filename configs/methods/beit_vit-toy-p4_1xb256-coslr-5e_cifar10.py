# BEiT in the short setting for two cores, with visual words of 4x4 pixels as its tokens and without
# drop path.
_base_ = "../_base_/methods/vit-toy-p4_1xb256-coslr-5e_cifar10.py"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=_base_.on_error),
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResizedCropAndInterpolationWithTwoPic",
        size=32,
        second_size=32,
        interpolation="bicubic",
        second_interpolation="lanczos",
        scale=(0.2, 1.0),
    ),
    dict(
        type="bam_mm.BlockMask",
        input_size=8,
        num_masking_patches=25,
        min_num_patches=5,
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="BEiT",
    backbone=dict(
        type="BEiTPretrainViT",
        arch=_base_.arch,
        img_size=32,
        patch_size=4,
        drop_path_rate=0.0,
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
        num_embed=512,
        loss=dict(type="CrossEntropyLoss"),
    ),
    # Not the published tokenizer, which has no weights for such small images.
    target_generator=dict(type="bam_mm.VisualWords", num_words=512, patch_size=4),
    data_preprocessor=dict(
        type="bam_mm.TwoNormPreprocessor",
        mean=_base_.mean,
        std=_base_.std,
        second_mean=_base_.mean,
        second_std=_base_.std,
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
custom_hooks = [
    dict(type="bam_mm.VisualWordsHook", num_images=2000),
    *_base_.custom_hooks,
]
