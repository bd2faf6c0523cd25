# What methods that hide patches share on CIFAR-10: a ViT of DeiT-tiny's width with patches of 4 px,
# batch 512, 200 epochs. A method's file has its backbone, pipeline and learning rate.
_base_ = ["../datasets/cifar10_bam.py", "../default_runtime.py"]

max_epochs = 200
warmup_epochs = 10
arch = dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768)
mean = [125.307, 122.961, 113.8575]
std = [51.5865, 50.847, 51.255]
train_dataloader = dict(batch_size=512, num_workers=8)
test_cfg = dict(branch="student")

optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", weight_decay=0.05, fused=True),
    constructor="bam_mm.StudentOptimWrapperConstructor",
)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-4,
        by_epoch=True,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)

custom_hooks = [
    # The same protocol as for the other methods on CIFAR-10.
    dict(
        type="bam_mm.OnlineKNNHook",
        bank_fraction=1.0,
        interval=5,
        first=True,
        k=200,
        temperature=0.1,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
]
default_hooks = dict(
    checkpoint=dict(interval=10),
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)
