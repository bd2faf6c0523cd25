# Table 1 without masking: a row also attends to its own image.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

model = dict(head=dict(mask_positives=False))
