# CAFormer-M36 as BAM pretrains it, its last map averaged.
_base_ = "./vit-base-p16_knn_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="bam_mm.CAFormer"),
    feature="mean",
)
