# BAM with ViT-B/16, except for the views: the config adds `layout` and `photometric_place`.
model = dict(
    type="bam_mm.BAM",
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(type="bam_mm.BAMProjector", in_channels=768, hid_channels=4096, out_channels=4096),
    head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.05, sinkhorn_iters=3),
    # Batches in pinned memory are copied without waiting for the previous step.
    data_preprocessor=dict(type="bam_mm.MultiViewPreprocessor", non_blocking=True),
)
