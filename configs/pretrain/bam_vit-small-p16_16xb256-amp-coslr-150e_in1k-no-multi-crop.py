# Table 1 without multi-crop: only the two global views. The layout is set wherever views are made,
# checked and used.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

layout = {**_base_.layout, "num_local": 0}
_base_.train_pipeline[1].update(layout=layout)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
model = dict(layout=layout, data_preprocessor=dict(layout=layout))
