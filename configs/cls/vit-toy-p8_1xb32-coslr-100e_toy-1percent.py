# Semi-supervised fine-tuning in the toy world on 1 % of the labels, four images per class. Make the
# list first:
# bam-mm subset data/toy/images --percent 1
_base_ = "./vit-toy-p8_1xb64-coslr-4e_toy.py"

subset = "subsets/balanced_1percent_seed0.txt"
max_epochs = 100
warmup_epochs = 5
train_dataloader = dict(batch_size=32, dataset=dict(subset=subset))
train_cfg = dict(max_epochs=max_epochs, val_interval=50)
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
