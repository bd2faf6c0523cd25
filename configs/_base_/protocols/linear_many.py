# Linear probes with many settings in one training (DINOv2's way): a head for each feature, learning
# rate and weight decay on a frozen backbone, SGD, a cosine schedule by epoch.
# Set --cfg-options checkpoint=PATH; checkpoint=random deliberately evaluates random weights.
checkpoint = None
branch = "teacher"
# The factor of all learning rates in model.learning_rates.
lr = 1.0
max_epochs = 10
# Part of each class of the training images that is held out, to choose the setting on.
val_fraction = 0.1
split_seed = 0

model = dict(
    type="bam_mm.ManyLinearProbes",
    head=dict(
        type="LinearClsHead",
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="Normal", layer="Linear", std=0.01),
    ),
    features=["cls", "mean", "cls4"],
    learning_rates=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
    weight_decays=[0.0, 1e-4],
)

optim_wrapper = dict(
    type="OptimWrapper",
    constructor="bam_mm.ManyLinearProbesConstructor",
    optimizer=dict(type="SGD", lr=lr, momentum=0.9),
)
auto_scale_lr = dict(base_batch_size=1024)
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, begin=0, end=max_epochs)
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)

custom_hooks = [
    dict(type="bam_mm.LoadBackboneHook"),
    dict(type="bam_mm.CheckLabelsHook"),
    dict(type="bam_mm.FrozenBackboneHook"),
]
