# A transfer data set in BYOL's splits for the linear protocol, without augmentation: short side 224
# px, centre crop of 224 px. A config sets the data set.
name = "food101"
data_root = "data/food-101"
cache_dir = "work_dirs/features"
pipeline = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=224, edge="short", interpolation="bicubic", backend="pillow"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]

_loader = dict(
    batch_size=256, num_workers=8, pin_memory=True, collate_fn=dict(type="default_collate")
)
_dataset = dict(type="bam_mm.TransferDataset", name=name, data_root=data_root, pipeline=pipeline)
test_dataloader = dict(**_loader, dataset=dict(**_dataset, split="test"))
test_evaluator = []
test_cfg = dict(
    type="bam_mm.LogisticRegressionLoop",
    train=dict(**_loader, dataset=dict(**_dataset, split="train")),
    val=dict(**_loader, dataset=dict(**_dataset, split="val")),
    metric="top1",
    cache_dir=cache_dir,
)

# Nothing is trained: the processes share the images but exchange no gradients.
model_wrapper_cfg = dict(type="bam_mm.EvaluationWrapper")
