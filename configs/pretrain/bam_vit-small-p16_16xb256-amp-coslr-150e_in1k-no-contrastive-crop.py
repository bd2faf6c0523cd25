# Table 1 without ContrastiveCrop: plain random resized crops in all epochs.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

default_hooks = dict(boxes=dict(start=None))
