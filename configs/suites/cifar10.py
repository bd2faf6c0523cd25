# CIFAR-10 as a folder of images, with networks for 32 px: about an hour on two cores. For others,
# enlarge the images: bam-mm benchmark run cifar10 --size NAME=224
_base_ = "../_base_/suites/parts.py"

title = "CIFAR-10"
about = (
    "CIFAR-10 with networks for 32 px images. The protocols are those of the large suites with "
    "shorter training; compare the numbers with each other, not with published ones."
)

look = ["cifar10/test/bird/*.*", "cifar10/test/dog/*.*"]
look_size = 32

_data = dict(
    title="CIFAR-10 as cifar10/{train,test}/<class>/<image>",
    root="cifar10",
    check="folder",
    get="unpack CIFAR-10 into class folders, 32 px PNG",
)

tasks = [
    dict(
        name="knn",
        title="kNN",
        about="weighted vote of the nearest training images (DINO)",
        kind="test",
        config="bam_mm::cls/resnet18-w16_knn_cifar10.py",
        metrics={
            "knn_k20/top1": dict(label="top-1, k=20", main=True),
            "knn_k10/top1": "top-1, k=10",
            "knn_k100/top1": "top-1, k=100",
            "knn_k200/top1": "top-1, k=200",
        },
        data=_data,
        cost="a few minutes",
        steady=True,
        curves=[_base_.knn_curve],
    ),
    dict(
        name="logreg",
        title="Logistic regression",
        about="on frozen features, penalty chosen on validation images (BYOL's linear transfer)",
        kind="test",
        config="bam_mm::cls/resnet18-w16_logreg_cifar10.py",
        metrics={
            "logreg/top1": dict(label="top-1", main=True),
            "logreg/val_top1": "validation top-1",
            "logreg/penalty": dict(label="penalty chosen", form=".3g", better="neither"),
        },
        data=_data,
        cost="a few minutes",
        seeds=["test_cfg.split_seed"],
        curves=[_base_.penalty_curve],
    ),
    dict(
        name="cluster",
        title="Clustering",
        about=(
            "k-means on the features of images of random classes, "
            "{test_cfg.draws} draws each (Fig. 7)"
        ),
        kind="test",
        config="bam_mm::cls/resnet18-w16_cluster_cifar10.py",
        metrics={
            "clustering_k10/nmi": dict(label="NMI, 10 classes", main=True),
            "clustering_k10/ari": "ARI, 10 classes",
        },
        data=_data,
        cost="a few minutes",
        seeds=["test_cfg.seed"],
        curves=[_base_.cluster_curve],
    ),
    dict(
        name="linear",
        title="Linear probe",
        about=(
            "linear layer on the pooled map of the frozen backbone, "
            "{optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config="bam_mm::cls/resnet18-w16_1xb128-linear-coslr-4e_cifar10.py",
        metrics=_base_.accuracy,
        data=_data,
        cost="10 minutes",
    ),
    dict(
        name="finetune",
        title="Fine-tuning",
        about=(
            "all layers are trained, {optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config="bam_mm::cls/resnet18-w16_1xb128-coslr-2e_cifar10.py",
        metrics=_base_.accuracy,
        data=_data,
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
            _data,
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
            _data,
            title="CIFAR-10 and a list of 1 % of its images",
            get="bam-mm subset data/cifar10 --percent 1",
        ),
        cost="4 minutes",
    ),
]
