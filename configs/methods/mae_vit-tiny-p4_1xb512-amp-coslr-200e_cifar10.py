# MAE (He et al., CVPR 2022): 1.5e-4 for 256 images, betas .9 and .95, weight decay .05, three
# quarters of the patches hidden, normalised pixels; the decoder is that of solo-learn's
# scripts/pretrain/cifar/mae.yaml.
_base_ = "../_base_/methods/vit-tiny-p4_1xb512-coslr-200e_cifar10.py"

train_pipeline = [
    dict(type="bam_mm.LoadImage", on_error=_base_.on_error),
    dict(
        type="RandomResizedCrop",
        scale=32,
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
        type="MAEViT",
        arch=_base_.arch,
        img_size=32,
        patch_size=4,
        mask_ratio=0.75,
    ),
    neck=dict(
        type="MAEPretrainDecoder",
        num_patches=64,
        patch_size=4,
        embed_dim=192,
        decoder_embed_dim=512,
        decoder_depth=8,
        decoder_num_heads=16,
    ),
    head=dict(
        type="MAEPretrainHead",
        norm_pix=True,
        patch_size=4,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor",
        mean=_base_.mean,
        std=_base_.std,
        to_rgb=True,
    ),
    init_cfg=[
        dict(type="Xavier", layer="Linear", distribution="uniform"),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
)
optim_wrapper = dict(
    optimizer=dict(lr=3e-4, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            mask_token=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
        ),
    ),
)
