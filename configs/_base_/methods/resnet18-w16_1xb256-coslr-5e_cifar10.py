# What all methods share in the short setting for two cores: 10,000 images of CIFAR-10, a ResNet-18
# of a quarter of the width whose first stage halves the resolution too (a quarter of the work),
# batch 256, 5 epochs. The optimizer is lightly's: SGD, .06 for 128 images, with one epoch of
# warm-up. Projectors are narrower than at full size.
_base_ = ["../datasets/cifar10_bam.py", "../default_runtime.py"]

max_epochs = 5
# Augmenting whole batches takes less of a core than one image after another in a worker.
photometric_place = "device"
_base_.train_pipeline[1].update(photometric_place=photometric_place)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
model = dict(
    backbone=dict(
        type="ResNet_CIFAR",
        depth=18,
        stem_channels=16,
        base_channels=16,
        strides=(2, 2, 2, 2),
    ),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=_base_.layout,
        photometric=_base_.photometric,
        photometric_place=photometric_place,
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
    ),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.12, momentum=0.9, weight_decay=5e-4),
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
    dict(type="bam_mm.CollapseMonitorHook", interval=13),
    dict(type="bam_mm.SkippedImagesHook"),
    dict(type="bam_mm.ChannelsLastHook"),
]
