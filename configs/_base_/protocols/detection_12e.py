# iBOT's detection protocol: AdamW with layer decay, 12 epochs, lr steps after 9 and 11, batch 16.
# Set --cfg-options checkpoint=PATH; checkpoint=random deliberately trains from scratch.
checkpoint = None
branch = "teacher"
lr = 1e-4
layer_decay_rate = 0.75
max_epochs = 12

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="bam_mm.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
    clip_grad=None,
)
auto_scale_lr = dict(base_batch_size=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[9, 11],
        gamma=0.1,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

custom_hooks = [dict(type="bam_mm.LoadBackboneHook")]
