# SwAV in the toy world.
_base_ = "../_base_/methods/vit-toy-p8_1xb64-coslr-2e_toy.py"

model = dict(
    type="SwAV",
    neck=dict(type="bam_mm.SwAVNeck", in_channels=96, hid_channels=192, out_channels=64),
    head=dict(type="bam_mm.SwAVHead", channels=64, num_prototypes=64),
)
# Its neck holds the norm layer under two names.
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
