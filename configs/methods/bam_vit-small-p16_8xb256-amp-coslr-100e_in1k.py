# BAM (Shalam and Korman, ECCV 2024): the recipe of
# bam_vit-small-p16_16xb256-amp-coslr-300e_in1k.py with the learning rate for batches of 2,048, less
# warm-up, and without ContrastiveCrop, which the other methods do not have.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

model = dict(
    type="bam_mm.BAM",
    layout=_base_.layout,
    neck=dict(type="bam_mm.BAMProjector", in_channels=384, hid_channels=4096, out_channels=4096),
    head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.05, sinkhorn_iters=3),
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3, weight_decay=0.04), clip_grad=dict(max_norm=0.3))
param_scheduler = [
    *_base_.param_scheduler,
    dict(
        type="CosineAnnealingWeightDecay",
        T_max=100,
        eta_min=0.4,
        by_epoch=True,
        end=100,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.995, end_momentum=1.0),
    *_base_.custom_hooks,
]
