# BEiT (Bao et al., ICLR 2022): as beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py of mmpretrain,
# with DALL-E's tokenizer, for 100 epochs and the 12 heads of the other methods' ViT-S.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=_base_.on_error),
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResizedCropAndInterpolationWithTwoPic",
        size=224,
        second_size=112,
        interpolation="bicubic",
        second_interpolation="lanczos",
        scale=(0.08, 1.0),
    ),
    dict(
        type="bam_mm.BlockMask",
        input_size=14,
        num_masking_patches=75,
        min_num_patches=16,
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="BEiT",
    backbone=dict(
        _delete_=True,
        type="BEiTPretrainViT",
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
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
        embed_dims=384,
        num_embed=8192,
        loss=dict(type="CrossEntropyLoss"),
    ),
    target_generator=dict(
        type="DALL-E",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://mmassets.onedl.ai/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth",
        ),
    ),
    data_preprocessor=dict(
        _delete_=True,
        type="bam_mm.TwoNormPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[-31.875, -31.875, -31.875],
        second_std=[318.75, 318.75, 318.75],
        to_rgb=True,
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05),
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
custom_hooks = [h for h in _base_.custom_hooks if h["type"] != "bam_mm.CollapseMonitorHook"]
find_unused_parameters = True
