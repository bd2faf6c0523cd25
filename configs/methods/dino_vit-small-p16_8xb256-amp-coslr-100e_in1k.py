# DINO (Caron et al., ICCV 2021) with 2 + 6 crops: the defaults of the authors' code, whose learning
# rate is 5e-4 for 256 images.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

model = dict(
    type="bam_mm.DINO",
    layout=_base_.layout,
    backbone=dict(stop_grad_conv1=False),
    neck=dict(type="bam_mm.DINOProjector", in_channels=384, out_channels=65536),
    head=dict(type="bam_mm.DINOHead", out_channels=65536),
)
optim_wrapper = dict(optimizer=dict(lr=4e-3, weight_decay=0.04))
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
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.996, end_momentum=1.0),
    dict(type="bam_mm.DINOScheduleHook", freeze_last_layer=1),
    *_base_.custom_hooks,
]
