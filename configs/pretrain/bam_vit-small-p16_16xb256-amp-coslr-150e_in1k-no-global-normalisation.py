# Table 1 without global normalisation: softmax and Sinkhorn for each pair of views separately.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

model = dict(head=dict(global_normalisation=False))
