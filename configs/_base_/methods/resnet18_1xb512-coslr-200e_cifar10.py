# What all methods share on CIFAR-10: ResNet-18 with the small stem, batch 512, 200 epochs, as in
# lightly's benchmark (docs/source/getting_started/benchmarks/cifar10_benchmark.py): SGD, learning
# rate .06 for 128 images, momentum .9, weight decay 5e-4, cosine without warm-up. Its views differ:
# lightly has those of each method, here all have those of cifar10_bam.py.
_base_ = ["../datasets/cifar10_bam.py", "../default_runtime.py"]

max_epochs = 200
model = dict(
    backbone=dict(type="ResNet_CIFAR", depth=18),
    data_preprocessor=dict(
        type="bam_mm.MultiViewPreprocessor",
        layout=_base_.layout,
        photometric=_base_.photometric,
        photometric_place=_base_.photometric_place,
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
    ),
)
train_dataloader = dict(batch_size=512, num_workers=8)
# The online kNN reads all 60,000 images every few epochs.
test_dataloader = dict(num_workers=4)
test_cfg = dict(bank=dict(num_workers=4))

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="SGD", lr=0.24, momentum=0.9, weight_decay=5e-4),
    constructor="bam_mm.StudentOptimWrapperConstructor",
)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)

custom_hooks = [
    # lightly's protocol: k = 200 and temperature .1, here also at the end of the training.
    dict(
        type="bam_mm.OnlineKNNHook",
        bank_fraction=1.0,
        interval=5,
        first=True,
        k=200,
        temperature=0.1,
    ),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=500),
    dict(type="bam_mm.SkippedImagesHook"),
    dict(type="bam_mm.ChannelsLastHook"),
]
default_hooks = dict(
    checkpoint=dict(interval=10),
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)
