# ImageNet-1k as DINO's kNN sees it: short side 256 px, its centre of 224.
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

# Nothing is trained: the processes share no gradients, only the images.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
