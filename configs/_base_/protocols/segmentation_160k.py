# UPerNet fine-tuning as in BEiT, iBOT and MAE: AdamW with layer decay, linear decay to 0, batch 16.
# Set --cfg-options checkpoint=PATH; checkpoint=random deliberately trains from scratch.
checkpoint = None
branch = "teacher"
lr = 8e-5
layer_decay_rate = 0.65
max_iters = 160000
warmup_iters = 1500

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
    clip_grad=None,
)
auto_scale_lr = dict(base_batch_size=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=16000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

custom_hooks = [dict(type="bam_mm.LoadBackboneHook")]
