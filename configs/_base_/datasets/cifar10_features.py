# CIFAR-10 as a folder of images: cifar10/{train,test}/<class>/<image>, 32 px, not resized.
data_root = "data/cifar10"
cache_dir = "work_dirs/features"
pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

_loader = dict(batch_size=500, num_workers=1, collate_fn=dict(type="default_collate"))
train_images = dict(
    **_loader,
    dataset=dict(type="bam_mm.ImageFolder", data_root=data_root, split="train", pipeline=pipeline),
)
test_dataloader = dict(
    **_loader,
    dataset=dict(type="bam_mm.ImageFolder", data_root=data_root, split="test", pipeline=pipeline),
)

# Nothing is trained: the processes share the images but exchange no gradients.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
