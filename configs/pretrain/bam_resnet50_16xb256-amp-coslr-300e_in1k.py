# BAM, ResNet-50, 300 epochs on ImageNet-1k: LARS, learning rate .3, warm-up of 10 epochs, weight
# decay 1e-6 (Table 9a). The paper does not state that .3 belongs to batch 4096; this package
# assumes it, as for the ViT's .003. The momentum (.9) is BYOL's, and so is the exclusion of biases
# and norms from decay and scaling.
_base_ = "./bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py"

warmup_epochs = 10

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=50, zero_init_residual=True),
    neck=dict(in_channels=2048, act_cfg=dict(type="ReLU")),
)
# BatchNorm statistics over all processes: 16 processes x 256 images then equal one with 4096.
sync_bn = "torch"

_plain = dict(decay_mult=0.0, lars_exclude=True)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="bam_mm.LARS", lr=0.3, momentum=0.9, weight_decay=1e-6),
    paramwise_cfg=dict(
        _delete_=True, custom_keys={".bn": _plain, ".downsample.1": _plain, ".bias": _plain}
    ),
)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=_base_.max_epochs - warmup_epochs,
        eta_min=1e-6,
        by_epoch=True,
        begin=warmup_epochs,
        end=_base_.max_epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.ChannelsLastHook")]
