# Semi-supervised fine-tuning on 1 % of the labels of CIFAR-10 as a folder, 50 images per class.
# Make the list first:
# bam-mm subset data/cifar10 --percent 1
_base_ = "./resnet18-w16_1xb128-coslr-2e_cifar10.py"

subset = "subsets/balanced_1percent_seed0.txt"
max_epochs = 60
warmup_epochs = 2
train_dataloader = dict(batch_size=64, dataset=dict(subset=subset))
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
auto_scale_lr = dict(base_batch_size=64)
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
