# DINO (Caron et al., ICCV 2021): projector, temperatures, momentum, learning rate (5e-4 for 256
# images), weight decay and drop path of the authors' code. It has 8 local crops and clips the
# gradient of each parameter; here there are 6, as for BAM, and the norm of all is clipped.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

model = dict(
    type="bam_mm.DINO",
    layout=_base_.layout,
    backbone=dict(stop_grad_conv1=False, drop_path_rate=0.1),
    neck=dict(type="bam_mm.DINOProjector", in_channels=384, out_channels=65536),
    head=dict(type="bam_mm.DINOHead", out_channels=65536),
)
optim_wrapper = dict(optimizer=dict(lr=4e-3, weight_decay=0.04), clip_grad=dict(max_norm=3.0))
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
