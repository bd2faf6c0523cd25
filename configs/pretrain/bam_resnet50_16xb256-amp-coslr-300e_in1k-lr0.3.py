# BAM, ResNet-50, 300 epochs on ImageNet-1k, with the literal reading of Table 9a: .3 is the rate of
# the whole batch of 4096 images, a sixteenth of MoCo v3's.
_base_ = "./bam_resnet50_16xb256-amp-coslr-300e_in1k.py"

optim_wrapper = dict(optimizer=dict(lr=0.3))
