# The toy world's images for evaluation: resized from 64 to 54 px, centre crop of 48 px.
data_root = "data/toy/images"
cache_dir = "work_dirs/features"
pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=54, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=48),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

_loader = dict(batch_size=250, num_workers=1, collate_fn=dict(type="default_collate"))
train_images = dict(
    **_loader,
    dataset=dict(type="bam_mm.ImageFolder", data_root=data_root, split="train", pipeline=pipeline),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(type="bam_mm.ImageFolder", data_root=data_root, split="val", pipeline=pipeline),
)

# Nothing is trained: the processes share the images but exchange no gradients.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
