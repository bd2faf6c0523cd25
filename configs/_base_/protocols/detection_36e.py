# iBOT's detection protocol for 36 epochs, as in mmdet's 3x schedule: lr steps after 27 and 33.
_base_ = "./detection_12e.py"

max_epochs = 36
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[27, 33],
        gamma=0.1,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
