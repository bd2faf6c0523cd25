# Table 1 without masking: a row attends to its own image too.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

model = dict(head=dict(mask_positives=False))
