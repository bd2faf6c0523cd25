# Pretraining methods side by side on CIFAR-10, each pretrained and scored: ResNet-18 (MAE and BEiT:
# ViT-tiny), 200 epochs, hours of a GPU for each method and seed.
_base_ = "../_base_/suites/cifar10_methods.py"

title = "Methods"
about = (
    "Each method is pretrained on CIFAR-10 and scored on the checkpoint that this leaves. Compare "
    "the methods with each other: their published numbers have other settings."
)

look = ["cifar10/test/bird/*.*", "cifar10/test/dog/*.*"]
look_size = 32

# Name, title and config of each method.
_methods = {
    "bam": ("BAM", "pretrain/bam_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "simclr": ("SimCLR", "methods/simclr_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "byol": ("BYOL", "methods/byol_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "swav": ("SwAV", "methods/swav_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "mocov3": ("MoCo v3", "methods/mocov3_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "dino": ("DINO", "methods/dino_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "nnclr": ("NNCLR", "methods/nnclr_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "relic": ("ReLIC", "methods/relic_resnet18_1xb512-amp-coslr-200e_cifar10"),
    "mae": ("MAE", "methods/mae_vit-tiny-p4_1xb512-amp-coslr-200e_cifar10"),
    "beit": ("BEiT", "methods/beit_vit-tiny-p4_1xb512-amp-coslr-200e_cifar10"),
}
pretraining = [
    dict(
        name=_name,
        title=_title,
        config=f"bam_mm::{_config}.py",
        data=_base_.cifar10,
        cost="hours on a GPU",
    )
    for _name, (_title, _config) in _methods.items()
]
tasks = _base_.methods_tasks
