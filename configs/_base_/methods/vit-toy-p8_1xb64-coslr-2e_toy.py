# What all methods share in the toy world: a four-layer ViT, batch 64, two epochs. It shows that a
# method runs, not how good it is.
_base_ = ["../datasets/toy_bam.py", "../default_runtime.py"]

max_epochs = 2
model = dict(
    backbone=dict(
        type="MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=_base_.layout,
        photometric=_base_.photometric,
        photometric_place=_base_.photometric_place,
    ),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        by_epoch=True,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)

custom_hooks = [
    dict(type="bam_mm.OnlineKNNHook", bank_fraction=0.5, interval=1, first=True),
    dict(type="bam_mm.CollapseMonitorHook", interval=10, stop=False),
    dict(type="bam_mm.SkippedImagesHook"),
]
default_hooks = dict(logger=dict(interval=10))
