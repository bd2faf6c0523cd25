# Fine-tuning on five species of birds, from a ViT-S/16 that was pretrained with BAM.
_base_ = [
    "mmpretrain::_base_/models/vit-base-p16.py",
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "mmpretrain::_base_/default_runtime.py",
]
custom_imports = dict(imports=["bam_mm"])

data_root = "data/birds"
num_classes = 5

model = dict(
    backbone=dict(
        _delete_=True,
        type="VisionTransformer",
        # BAM's ViT-S has 12 heads; arch="deit-small" has 6, and arch="small" is another network.
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        init_cfg=dict(
            type="bam_mm.PretrainedBackbone",
            checkpoint="work_dirs/bam_vit-small/epoch_300.pth",
        ),
    ),
    head=dict(
        _delete_=True,
        type="LinearClsHead",
        num_classes=num_classes,
        in_channels=384,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
data_preprocessor = dict(num_classes=num_classes)

# data/birds/train/SPECIES/*.jpg and data/birds/val/SPECIES/*.jpg. The base is ImageNet.
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type="CustomDataset",
        data_root=data_root,
        data_prefix="train",
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type="CustomDataset",
        data_root=data_root,
        data_prefix="val",
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4),
    paramwise_cfg=dict(
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)}
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=95,
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=100, val_interval=5)
default_hooks = dict(checkpoint=dict(save_best="accuracy/top1", max_keep_ckpts=2))
randomness = dict(seed=0)
