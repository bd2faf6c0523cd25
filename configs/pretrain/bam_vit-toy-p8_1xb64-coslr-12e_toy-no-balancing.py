# The toy run with balancing switched off: it collapses, and the monitor stops it.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

model = dict(head=dict(sinkhorn_iters=0))
