# Semi-supervised fine-tuning in the toy world on 10 % of the labels, half a minute on two cores.
# Make the list first:
# bam-mm subset data/toy/images --percent 10
_base_ = "./vit-toy-p8_1xb64-coslr-4e_toy.py"

subset = "subsets/balanced_10percent_seed0.txt"
max_epochs = 20
warmup_epochs = 2
train_dataloader = dict(batch_size=32, dataset=dict(subset=subset))
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
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
