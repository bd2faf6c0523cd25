# CIFAR-10 as a folder of images, with networks for 32 px: about an hour on two cores. For others,
# enlarge the images: bam-mm benchmark run cifar10 --size NAME=224
_base_ = "../_base_/suites/cifar10_methods.py"

title = "CIFAR-10"
about = (
    "CIFAR-10 with networks for 32 px images. The protocols are those of the large suites with "
    "shorter training; compare the numbers with each other, not with published ones."
)

look = ["cifar10/test/bird/*.*", "cifar10/test/dog/*.*"]
look_size = 32

_tasks = {_task["name"]: _task for _task in _base_.methods_tasks}
tasks = [
    _tasks["knn"],
    _tasks["logreg"],
    # One column of the leaderboard.
    dict(
        _tasks["cluster"],
        metrics={
            "clustering_k10/nmi": dict(label="NMI, 10 classes", main=True),
            "clustering_k10/ari": "ARI, 10 classes",
        },
    ),
    _tasks["linear"],
    dict(
        name="finetune",
        title="Fine-tuning",
        about=(
            "all layers are trained, {optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config="bam_mm::cls/resnet18-w16_1xb128-coslr-2e_cifar10.py",
        metrics=_base_.accuracy,
        data=_base_.cifar10,
        cost="10 minutes",
    ),
    dict(
        name="semi10",
        title="10 % of labels",
        about="fine-tuning on 10 % of the labels, {train_cfg.max_epochs} epochs",
        kind="train",
        config="bam_mm::cls/resnet18-w16_1xb128-coslr-15e_cifar10-10percent.py",
        metrics=_base_.accuracy,
        data=dict(
            _base_.cifar10,
            title="CIFAR-10 and a list of 10 % of its images",
            get="bam-mm subset data/cifar10 --percent 10",
        ),
        cost="8 minutes",
    ),
    dict(
        name="semi1",
        title="1 % of labels",
        about="fine-tuning on 1 % of the labels, {train_cfg.max_epochs} epochs",
        kind="train",
        config="bam_mm::cls/resnet18-w16_1xb64-coslr-60e_cifar10-1percent.py",
        metrics=_base_.accuracy,
        data=dict(
            _base_.cifar10,
            title="CIFAR-10 and a list of 1 % of its images",
            get="bam-mm subset data/cifar10 --percent 1",
        ),
        cost="4 minutes",
    ),
]
