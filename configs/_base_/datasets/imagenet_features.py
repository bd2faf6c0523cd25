# ImageNet-1k with DINO's kNN preprocessing: short side 256 px, centre crop of 224 px.
data_root = "data/imagenet"
cache_dir = "work_dirs/features"
pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=256, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

_loader = dict(
    batch_size=256, num_workers=12, pin_memory=True, collate_fn=dict(type="default_collate")
)
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
