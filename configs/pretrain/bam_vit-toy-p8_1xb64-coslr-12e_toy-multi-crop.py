# The toy run with multi-crop: four local views of 24 px in addition to the two global ones.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

layout = {**_base_.layout, "num_local": 4, "local_size": 24}
photometric = _base_.photometric + [dict(blur_prob=0.5, blur_sigma=(0.1, 0.2))] * 4
_base_.train_pipeline[1].update(layout=layout, photometric=photometric)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
model = dict(layout=layout, data_preprocessor=dict(layout=layout, photometric=photometric))
