# BAM on CIFAR-10 with larger batches, for the comparison with SimCLR.
_base_ = "./bam_resnet18-w16_1xb128-coslr-8e_cifar10.py"

train_dataloader = dict(batch_size=256)
