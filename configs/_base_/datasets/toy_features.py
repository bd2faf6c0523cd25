# The toy world's images as evaluation sees them: 64 px to 54, its centre of 48.
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

# Nothing is trained: the processes share no gradients, only the images.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
