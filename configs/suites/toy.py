# The toy world: all tasks, each in minutes on two cores.
_base_ = "../_base_/suites/parts.py"

title = "Toy world"
about = (
    "A generated world of 64 px images in which shape and texture, but not colour, determine the 9 "
    "classes. It shows whether pretraining helps, not how methods rank on real images."
)

look = ["toy/coco/val/00000.jpg", "toy/coco/val/00001.jpg"]
look_size = 96

_get = "bam-mm toy-world data/toy"
_images = dict(title="toy world, images", root="toy/images", check="folder", get=_get)
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
            "knn_k100/top1": "top-1, k=100",
            "knn_k200/top1": "top-1, k=200",
        },
        data=_images,
        cost="half a minute",
        steady=True,
        curves=[_base_.knn_curve],
    ),
    dict(
        name="logreg",
        title="Logistic regression",
        about="on frozen features, penalty chosen on validation images (BYOL's linear transfer)",
        kind="test",
        config="bam_mm::cls/vit-toy-p8_logreg_toy.py",
        metrics={
            "logreg/top1": dict(label="top-1", main=True),
            "logreg/val_top1": "validation top-1",
            "logreg/penalty": dict(label="penalty chosen", form=".3g", better="neither"),
        },
        data=_images,
        cost="half a minute",
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
        config="bam_mm::cls/vit-toy-p8_cluster_toy.py",
        metrics={
            "clustering_k9/nmi": dict(label="NMI, 9 classes", main=True),
            "clustering_k9/ari": "ARI, 9 classes",
            "clustering_k5/nmi": "NMI, 5 classes",
            "clustering_k5/ari": "ARI, 5 classes",
        },
        data=_images,
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
        data=_images,
        cost="a minute and a half",
    ),
    dict(
        name="linear-many",
        title="Linear probe (many settings)",
        about=(
            "features {model.features}, learning rates {model.learning_rates} and weight decays "
            "{model.weight_decays} in one training of {train_cfg.max_epochs} epochs, chosen on "
            "held-out training images (DINOv2's way)"
        ),
        kind="train",
        config="bam_mm::cls/vit-toy-p8_1xb64-linear-many-coslr-4e_toy.py",
        metrics=_base_.probe_accuracy,
        data=_images,
        cost="half a minute",
        seeds=_base_.probe_seeds,
        curves=[_base_.probe_curve],
    ),
    dict(
        name="finetune",
        title="Fine-tuning",
        about=(
            "all layers are trained, {optim_wrapper.optimizer.type}, {train_cfg.max_epochs} epochs"
        ),
        kind="train",
        config="bam_mm::cls/vit-toy-p8_1xb64-coslr-4e_toy.py",
        metrics=_base_.accuracy,
        data=_images,
        cost="a minute",
    ),
    dict(
        name="semi10",
        title="10 % of labels",
        about="fine-tuning on 10 % of the labels, {train_cfg.max_epochs} epochs",
        kind="train",
        config="bam_mm::cls/vit-toy-p8_1xb32-coslr-20e_toy-10percent.py",
        metrics=_base_.accuracy,
        data=dict(
            title="toy world, images and a list of 10 % of them",
            root="toy/images",
            check="folder",
            get=_get + " && bam-mm subset data/toy/images --percent 10",
        ),
        cost="half a minute",
    ),
    dict(
        name="semi1",
        title="1 % of labels",
        about="fine-tuning on 4 images per class, {train_cfg.max_epochs} epochs",
        kind="train",
        config="bam_mm::cls/vit-toy-p8_1xb32-coslr-100e_toy-1percent.py",
        metrics=_base_.accuracy,
        data=dict(
            title="toy world, images and a list of 1 % of them",
            root="toy/images",
            check="folder",
            get=_get + " && bam-mm subset data/toy/images --percent 1",
        ),
        cost="a minute",
    ),
    dict(
        name="dense_knn",
        title="Dense kNN",
        about=(
            "segmentation by the {test_cfg.k} nearest of {test_cfg.bank_size} patches, "
            "no training (Balažević et al.)"
        ),
        kind="test",
        config="bam_mm::seg/vit-toy-p8_dense-knn_toy.py",
        metrics=_base_.dense_knn,
        data=dict(title="toy world, semantic maps", root="toy/ade20k", get=_get),
        cost="ten seconds",
        seeds=["test_cfg.seed"],
        pictures=[_base_.prediction_pictures],
    ),
    dict(
        name="davis",
        title="Video",
        about=(
            "labels of the first frame propagated to similar patches, k={model.topk}, "
            "{model.n_last_frames} frames (DINO)"
        ),
        kind="test",
        config="bam_mm::vos/vit-toy-p8_label-propagation_toy.py",
        metrics={
            "davis/J&F": dict(label="J&F", main=True, scale=100),
            "davis/J_mean": dict(label="J", scale=100),
            "davis/F_mean": dict(label="F", scale=100),
        },
        data=dict(title="toy world, videos", root="toy/davis", get=_get),
        cost="a minute",
        steady=True,
        pictures=[_base_.davis_pictures],
    ),
    dict(
        name="det",
        title="Detection",
        about=(
            "Cascade Mask R-CNN, all layers are trained, {train_cfg.max_epochs} epochs: it "
            "shows that all parts work together; the shapes are learned from random weights as well"
        ),
        kind="train",
        config="bam_mm::det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py",
        metrics=_base_.detection,
        data=dict(title="toy world, COCO instances", root="toy/coco", get=_get),
        cost="four minutes",
        pictures=[_base_.prediction_pictures],
    ),
    dict(
        name="seg",
        title="Segmentation",
        about="UPerNet, all layers are trained, {train_cfg.max_iters} iterations",
        kind="train",
        config="bam_mm::seg/vit-toy-p8_upernet_1xb4-400i_toy.py",
        metrics=_base_.segmentation,
        data=dict(title="toy world, semantic maps", root="toy/ade20k", get=_get),
        cost="a minute and a half",
        pictures=[_base_.prediction_pictures],
    ),
]
