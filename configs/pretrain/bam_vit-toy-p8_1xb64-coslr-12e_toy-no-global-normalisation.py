# Table 1 without global normalisation: softmax and Sinkhorn for each pair of views separately.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

model = dict(head=dict(global_normalisation=False))
