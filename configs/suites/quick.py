# Protocols that train no network: kNN, clustering, seven linear transfers, dense kNN and video.
_base_ = "../_base_/suites/parts.py"

title = "Frozen features"
about = (
    "kNN and clustering on ImageNet, logistic regression on BYOL's transfer data sets, "
    "segmentation of ADE20K by nearest patches, and video. No network is trained."
)

look = ["imagenet/val/n01440764/*.*", "imagenet/val/n02099601/*.*"]

_imagenet = dict(title="ImageNet-1k", root="imagenet", check="imagenet")

_transfer = [
    dict(
        name=f"transfer-{_name}",
        title=f"Transfer: {_title}",
        about="logistic regression on features, penalty chosen on validation images (Table 5)",
        kind="test",
        config=dict(
            vit=f"bam_mm::cls/vit-base-p16_logreg_{_name}.py",
            cnn=f"bam_mm::cls/resnet50_logreg_{_name}.py",
        ),
        metrics={
            f"logreg/{_metric}": dict(
                label="mean per class" if _metric == "mean_per_class" else "top-1",
                main=True,
                published=f"transfer.{_name}:byol",
            ),
            f"logreg/val_{_metric}": "validation",
            "logreg/penalty": dict(label="penalty chosen", form=".3g", better="neither"),
        },
        data=dict(title=_title, root=_root, check=_name),
        cost="minutes on a GPU",
        steady=True,
        curves=[
            _base_.class_penalty_curve if _metric == "mean_per_class" else _base_.penalty_curve
        ],
    )
    for _name, _title, _root, _metric in (
        ("food101", "Food-101", "food-101", "top1"),
        ("cifar10", "CIFAR-10", "cifar", "top1"),
        ("cifar100", "CIFAR-100", "cifar", "top1"),
        ("cars", "Cars", "cars", "top1"),
        ("aircraft", "Aircraft", "fgvc-aircraft-2013b", "mean_per_class"),
        ("pets", "Pets", "pets", "mean_per_class"),
        ("flowers", "Flowers", "flowers", "mean_per_class"),
    )
]

tasks = [
    dict(
        name="knn",
        title="kNN",
        about="weighted vote of the nearest training images (DINO)",
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-base-p16_knn_in1k.py", cnn="bam_mm::cls/resnet50_knn_in1k.py"
        ),
        metrics={
            "knn_k20/top1": dict(label="top-1, k=20", main=True),
            "knn_k10/top1": "top-1, k=10",
            "knn_k100/top1": "top-1, k=100",
            "knn_k200/top1": "top-1, k=200",
        },
        data=_imagenet,
        cost="an hour on a GPU",
        steady=True,
        curves=[_base_.knn_curve],
    ),
    dict(
        name="cluster",
        title="Clustering",
        about=(
            "k-means on features of validation images of random classes, "
            "{test_cfg.draws} draws each (Fig. 7)"
        ),
        kind="test",
        config=dict(
            vit="bam_mm::cls/vit-base-p16_cluster_in1k.py",
            cnn="bam_mm::cls/resnet50_cluster_in1k.py",
        ),
        metrics={
            "clustering_k100/nmi": dict(label="NMI, 100 classes", main=True),
            "clustering_k100/ari": "ARI, 100 classes",
            "clustering_k10/nmi": "NMI, 10 classes",
            "clustering_k10/ari": "ARI, 10 classes",
        },
        data=_imagenet,
        cost="a quarter of an hour on a GPU",
        seeds=["test_cfg.seed"],
        curves=[_base_.cluster_curve],
    ),
    *_transfer,
    dict(
        name="dense_knn",
        title="Dense kNN",
        about=(
            "ADE20K segmented by the {test_cfg.k} nearest of {test_cfg.bank_size} training patches "
            "(Balažević et al.)"
        ),
        kind="test",
        config=dict(
            vit="bam_mm::seg/vit-base-p16_dense-knn_ade20k.py",
            cnn="bam_mm::seg/resnet50_dense-knn_ade20k.py",
        ),
        metrics=_base_.dense_knn,
        data=dict(title="ADE20K", root="ade/ADEChallengeData2016", check="ade20k"),
        cost="not measured",
        seeds=["test_cfg.seed"],
        pictures=[_base_.prediction_pictures],
    ),
    dict(
        name="davis",
        title="Video",
        about=(
            "labels of the first frame propagated to similar patches, "
            "{model.n_last_frames} frames (DINO; Table 6)"
        ),
        kind="test",
        config=dict(
            vit="bam_mm::vos/vit-base-p16_label-propagation_davis2017.py",
            cnn="bam_mm::vos/resnet50_label-propagation_davis2017.py",
        ),
        options={"model.topk": [5, 3, 7, 10]},
        metrics={
            "davis/J&F": dict(label="J&F, k=5", main=True, scale=100, published="davis.jf:dino"),
            "davis/J_mean": dict(label="J, k=5", scale=100, published="davis.j:dino"),
            "davis/F_mean": dict(label="F, k=5", scale=100, published="davis.f:dino"),
            "davis/k3_n7/J&F": dict(label="J&F, k=3", scale=100),
            "davis/k7_n7/J&F": dict(label="J&F, k=7", scale=100),
            "davis/k10_n7/J&F": dict(label="J&F, k=10", scale=100),
        },
        data=dict(title="DAVIS-2017, 480p", root="DAVIS", check="davis2017"),
        cost="half an hour on a GPU",
        steady=True,
        pictures=[_base_.davis_pictures],
    ),
]
