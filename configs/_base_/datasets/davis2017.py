# DAVIS-2017 at 480p, or any folder with the same structure. Frames are read when they are needed.
data_root = "data/DAVIS"

test_dataloader = dict(
    batch_size=1,
    # The model prefetches the frames of one video at a time, so workers would have nothing to do.
    num_workers=0,
    collate_fn=dict(type="pseudo_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        type="bam_mm.DAVISDataset",
        data_root=data_root,
        split="val",
        resolution="480p",
        annotated="all",
    ),
)
test_evaluator = dict(type="bam_mm.DAVISMetric", overlays=2)
test_cfg = dict(type="bam_mm.VideoTestLoop")
