# The toy run with ContrastiveCrop: the paper's 40 and 20 of 300 epochs, scaled to 12.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

default_hooks = dict(boxes=dict(start=2, interval=2))
