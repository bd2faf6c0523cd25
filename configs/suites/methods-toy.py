# Pretraining side by side on the toy world, for a first look and for tests: BAM with and without
# its teacher, minutes on two cores.
_base_ = "../_base_/suites/parts.py"

title = "Methods, toy world"
about = (
    "BAM with and without a teacher, pretrained on the generated world of 64 px images and "
    "evaluated on the checkpoint that this leaves."
)

_toy = dict(
    title="toy world, images",
    root="toy/images",
    check="folder",
    get="bam-mm toy-world data/toy",
)
# Name, title and config of each method.
_methods = {
    "bam": ("BAM", "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy"),
    "bam-no-teacher": (
        "BAM without teacher",
        "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-no-teacher",
    ),
}
pretraining = [
    dict(name=_name, title=_title, config=f"bam_mm::{_config}.py", data=_toy, cost="minutes")
    for _name, (_title, _config) in _methods.items()
]
tasks = [
    dict(
        name="knn",
        title="kNN",
        about="weighted vote of the nearest training images (DINO)",
        kind="test",
        config="bam_mm::cls/vit-toy-p8_knn_toy.py",
        metrics={
            "knn_k20/top1": dict(label="top-1, k=20", main=True),
            "knn_k10/top1": "top-1, k=10",
        },
        data=_toy,
        cost="half a minute",
        steady=True,
        curves=[_base_.knn_curve],
    ),
    dict(
        name="cluster",
        title="Clustering",
        about=(
            "k-means on the features of images of random classes, "
            "{test_cfg.draws} draws each (Fig. 7)"
        ),
        kind="test",
        config="bam_mm::cls/vit-toy-p8_cluster_toy.py",
        metrics={
            "clustering_k9/nmi": dict(label="NMI, 9 classes", main=True),
            "clustering_k9/ari": "ARI, 9 classes",
        },
        data=_toy,
        cost="half a minute",
        seeds=["test_cfg.seed"],
        curves=[_base_.cluster_curve],
    ),
    dict(
        name="linear",
        title="Linear probe",
        about=(
            "linear layer on [CLS] and mean patch of the frozen backbone, "
            "{optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config="bam_mm::cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py",
        metrics=_base_.accuracy,
        data=_toy,
        cost="a minute and a half",
    ),
]
