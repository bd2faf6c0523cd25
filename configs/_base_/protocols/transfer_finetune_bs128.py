# Transfer by fine-tuning on a few thousand images: total batch 128, the batch size in the text of
# MoCo v3, instead of 1024. Flowers has 2,040 training images, so an epoch at 1024 would be a single
# step that leaves out half of them.
_base_ = "./transfer_finetune.py"

lr = 7.5e-5  # 3e-4 x 128 / 512
optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=128)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-6 / lr,
        by_epoch=True,
        begin=0,
        end=_base_.warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=_base_.max_epochs - _base_.warmup_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=_base_.warmup_epochs,
        end=_base_.max_epochs,
        convert_to_iter_based=True,
    ),
]
