# DAVIS-2017 with frozen patch features: DINO's protocol propagates labels to nearest patches.
# Several settings at once: --cfg-options model.topk="[3,5,7,10]" model.n_last_frames="[7,15]"
_base_ = ["../_base_/datasets/davis2017.py", "../_base_/default_runtime.py"]

model = dict(
    type="bam_mm.LabelPropagation",
    backbone=dict(type="mmpretrain.MoCoV3ViT", arch="base", img_size=224, patch_size=16),
    short_side=480,
    divisor=64,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    topk=5,
    n_last_frames=7,
    radius=12,
    temperature=0.1,
    dtype="float32",
    branch="teacher",
)

# Nothing is trained: the processes share the videos but exchange no gradients.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
default_hooks = dict(logger=dict(interval=1))
