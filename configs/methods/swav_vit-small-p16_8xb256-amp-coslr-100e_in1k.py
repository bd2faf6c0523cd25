# SwAV (Caron et al., NeurIPS 2020) with 2 + 6 crops; the codes span all GPUs and there is no queue.
_base_ = "../_base_/methods/vit-small-p16_8xb256-coslr-100e_in1k.py"

model = dict(
    type="SwAV",
    neck=dict(type="bam_mm.SwAVNeck", in_channels=384, hid_channels=2048, out_channels=128),
    head=dict(type="bam_mm.SwAVHead", channels=128, num_prototypes=3000, num_crops=[2, 6]),
)
# Its neck holds the norm layer under two names.
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
