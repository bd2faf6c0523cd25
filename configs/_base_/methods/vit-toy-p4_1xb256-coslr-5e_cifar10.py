# What methods that hide patches share in the short setting for two cores: 10,000 images of
# CIFAR-10, the toy ViT with patches of 4 px, batch 256, 5 epochs. The learning rate is higher than
# that of the papers, whose trainings take a thousand times as many iterations. A method's file has
# its backbone and pipeline.
_base_ = ["../datasets/cifar10_bam.py", "../default_runtime.py"]

max_epochs = 5
arch = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)
mean = [125.307, 122.961, 113.8575]
std = [51.5865, 50.847, 51.255]
test_cfg = dict(branch="student")

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    constructor="bam_mm.StudentOptimWrapperConstructor",
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - 1,
        by_epoch=True,
        begin=1,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)

custom_hooks = [
    dict(type="bam_mm.OnlineKNNHook", bank_fraction=1.0, interval=2, first=True),
    dict(type="bam_mm.SkippedImagesHook"),
]
