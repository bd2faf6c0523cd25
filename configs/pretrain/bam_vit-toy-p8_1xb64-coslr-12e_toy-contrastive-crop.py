# The toy run with ContrastiveCrop: the paper's epochs 40 and 20 of 300, scaled to 12 epochs.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

default_hooks = dict(boxes=dict(start=2, interval=2))
