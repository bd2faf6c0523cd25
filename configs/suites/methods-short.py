# Pretraining methods side by side on CIFAR-10 in hours on two cores: a quarter-width ResNet-18, 8
# epochs. The tasks are those of methods.py.
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
    "bam": ("BAM", "pretrain/bam_resnet18-w16_1xb256-coslr-8e_cifar10"),
    "simclr": ("SimCLR", "pretrain/simclr_resnet18-w16_1xb256-coslr-8e_cifar10"),
}
pretraining = [
    dict(
        name=_name,
        title=_title,
        config=f"bam_mm::{_config}.py",
        data=_base_.cifar10,
        cost="half an hour",
    )
    for _name, (_title, _config) in _methods.items()
]
tasks = _base_.methods_tasks
