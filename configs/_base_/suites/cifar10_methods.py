# Tasks on CIFAR-10 as a folder of images, for suites that pretrain and for cifar10.py. The configs
# fit backbones of any width and depth. Those for a ViT read [CLS] (BEiT: the mean patch), as the
# online kNN does.
_base_ = "./parts.py"

cifar10 = dict(
    title="CIFAR-10 as cifar10/{train,test}/<class>/<image>",
    root="cifar10",
    check="folder",
    get="unpack CIFAR-10 into class folders, 32 px PNG",
)

methods_tasks = [
    dict(
        name="knn",
        title="kNN",
        about="weighted vote of the nearest training images (DINO), test images",
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-toy-p4_knn_cifar10.py",
            cnn="bam_mm::cls/resnet18-w16_knn_cifar10.py",
        ),
        metrics={
            "knn_k20/top1": dict(label="top-1, k=20", main=True),
            "knn_k10/top1": "top-1, k=10",
            "knn_k100/top1": "top-1, k=100",
            "knn_k200/top1": "top-1, k=200",
        },
        data=cifar10,
        cost="a few minutes",
        steady=True,
        curves=[_base_.knn_curve],
    ),
    dict(
        name="knn-k200",
        title="kNN (lightly)",
        about="k={test_cfg.k}, temperature {test_cfg.temperature}, as in lightly's benchmarks",
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-toy-p4_knn_cifar10.py",
            cnn="bam_mm::cls/resnet18-w16_knn_cifar10.py",
        ),
        options={"test_cfg.k": [200], "test_cfg.temperature": 0.1},
        metrics={"knn_k200/top1": dict(label="top-1, k=200", main=True)},
        data=cifar10,
        cost="a few minutes",
        steady=True,
    ),
    dict(
        name="logreg",
        title="Logistic regression",
        about="on frozen features, penalty chosen on validation images (BYOL's linear transfer)",
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-toy-p4_logreg_cifar10.py",
            cnn="bam_mm::cls/resnet18-w16_logreg_cifar10.py",
        ),
        metrics={
            "logreg/top1": dict(label="top-1", main=True),
            "logreg/val_top1": "validation top-1",
            "logreg/penalty": dict(label="penalty chosen", form=".3g", better="neither"),
        },
        data=cifar10,
        cost="a few minutes",
        seeds=["test_cfg.split_seed"],
        curves=[_base_.penalty_curve],
    ),
    dict(
        name="cluster",
        title="Clustering",
        about=(
            "k-means on the features of test images of random classes, "
            "{test_cfg.draws} draws each (Fig. 7)"
        ),
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-toy-p4_cluster_cifar10.py",
            cnn="bam_mm::cls/resnet18-w16_cluster_cifar10.py",
        ),
        metrics={
            "clustering_k10/nmi": dict(label="NMI, 10 classes", main=True),
            "clustering_k10/ari": dict(label="ARI, 10 classes", main=True),
        },
        data=cifar10,
        cost="a few minutes",
        seeds=["test_cfg.seed"],
        curves=[_base_.cluster_curve],
    ),
    dict(
        name="linear",
        title="Linear probe",
        about=(
            "linear layer on the frozen backbone's pooled map "
            "(ViT: [CLS] and mean patch; BEiT: mean patch), "
            "{optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config=dict(
            vit="bam_mm::cls/vit-toy-p4_1xb128-linear-coslr-4e_cifar10.py",
            cnn="bam_mm::cls/resnet18-w16_1xb128-linear-coslr-4e_cifar10.py",
        ),
        metrics=_base_.accuracy,
        data=cifar10,
        cost="10 minutes",
    ),
]
