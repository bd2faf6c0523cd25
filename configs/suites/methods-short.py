# Pretraining methods side by side on CIFAR-10 in hours on two cores: a quarter-width ResNet-18 (MAE
# and BEiT: a small ViT), 5 epochs. The tasks are those of methods.py.
_base_ = "../_base_/suites/cifar10_methods.py"

title = "Methods, short"
about = (
    "Each method is pretrained on CIFAR-10 with a narrow network for a few epochs, and scored on "
    "the checkpoint that this leaves. It shows how methods start, not where they end."
)

look = ["cifar10/test/bird/*.*", "cifar10/test/dog/*.*"]
look_size = 32

# Name, title and config of each method.
_methods = {
    "bam": ("BAM", "methods/bam_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "simclr": ("SimCLR", "methods/simclr_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "byol": ("BYOL", "methods/byol_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "swav": ("SwAV", "methods/swav_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "mocov3": ("MoCo v3", "methods/mocov3_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "dino": ("DINO", "methods/dino_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "nnclr": ("NNCLR", "methods/nnclr_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "relic": ("ReLIC", "methods/relic_resnet18-w16_1xb256-coslr-5e_cifar10"),
    "mae": ("MAE", "methods/mae_vit-toy-p4_1xb256-coslr-5e_cifar10"),
    "beit": ("BEiT", "methods/beit_vit-toy-p4_1xb256-coslr-5e_cifar10"),
}
pretraining = [
    dict(
        name=_name,
        title=_title,
        config=f"bam_mm::{_config}.py",
        data=_base_.cifar10,
        cost="five to ten minutes",
    )
    for _name, (_title, _config) in _methods.items()
]
tasks = _base_.methods_tasks
