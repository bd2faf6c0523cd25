# Linear probe: a frozen backbone, SGD on a linear layer, a cosine schedule by epoch.
# Set --cfg-options checkpoint=PATH; checkpoint=random deliberately evaluates random weights.
checkpoint = None
branch = "teacher"
lr = 0.008
max_epochs = 100

model = dict(
    type="bam_mm.FrozenBackboneClassifier",
    head=dict(
        type="LinearClsHead",
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="Normal", layer="Linear", std=0.01),
    ),
)

optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=lr, momentum=0.9, weight_decay=0.0)
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
