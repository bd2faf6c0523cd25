# CAFormer-M36 as pretrained by BAM; the feature is the mean of the last map.
_base_ = "./vit-base-p16_cluster_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer"),
    feature="mean",
)
