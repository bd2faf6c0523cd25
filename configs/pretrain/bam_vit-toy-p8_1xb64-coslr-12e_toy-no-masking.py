# Table 1 without masking: a row also attends to its own image.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

model = dict(head=dict(mask_positives=False))
