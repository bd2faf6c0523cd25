# MAE (He et al., CVPR 2022): as mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py of mmpretrain, for
# 100 epochs, with the 12 heads of the other methods' ViT-S.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=_base_.on_error),
    dict(
        type="RandomResizedCrop",
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        interpolation="bicubic",
        backend="pillow",
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    type="MAE",
    backbone=dict(
        _delete_=True,
        type="MAEViT",
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
        mask_ratio=0.75,
    ),
    neck=dict(
        type="MAEPretrainDecoder",
        num_patches=196,
        patch_size=16,
        embed_dim=384,
        decoder_embed_dim=512,
        decoder_depth=8,
        decoder_num_heads=16,
    ),
    head=dict(
        type="MAEPretrainHead",
        norm_pix=True,
        patch_size=16,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
    data_preprocessor=dict(
        _delete_=True,
        type="SelfSupDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    init_cfg=[
        dict(type="Xavier", layer="Linear", distribution="uniform"),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
)
optim_wrapper = dict(
    optimizer=dict(lr=1.2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            mask_token=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
        ),
    ),
    clip_grad=None,
)
test_cfg = dict(branch="student")
# There are no projections of views that could collapse.
custom_hooks = [h for h in _base_.custom_hooks if h["type"] != "bam_mm.CollapseMonitorHook"]
