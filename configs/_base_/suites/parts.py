# Settings that several suites share: metrics, curves and pictures.
knn_curve = dict(
    file="knn/knn.json", x="k", y=["top1"], labels=["neighbours k", "kNN top-1 (%)"], log=True
)
cluster_curve = dict(
    file="clustering/clustering.json",
    x="classes",
    y=["nmi", "ari"],
    labels=["number of classes", "NMI (%)", "ARI (%)"],
    scale=100,
)
penalty_curve = dict(
    file="logreg/penalties.json",
    x="penalty",
    y=["val_top1"],
    labels=["L2 penalty", "validation top-1 (%)"],
    log=True,
)
class_penalty_curve = dict(
    file="logreg/penalties.json",
    x="penalty",
    y=["val_mean_per_class"],
    labels=["L2 penalty", "validation mean per class (%)"],
    log=True,
)
probe_curve = dict(
    file="probes/curve.json",
    x="learning_rate",
    y=["val_top1"],
    labels=["learning rate", "validation top-1 (%)"],
    log=True,
    lines="feature",
)
davis_pictures = dict(
    pattern="davis/overlays/*.png",
    caption="objects propagated from the first frame (left) through a video",
)
accuracy = {
    "accuracy/top1": dict(label="top-1", main=True),
    "accuracy/top5": "top-5",
}
probe_seeds = [
    "train_dataloader.dataset.split_seed",
    "val_dataloader.dataset.split_seed",
    "test_cfg.val.dataset.split_seed",
]
probe_accuracy = {**accuracy, "probes/val_top1": dict(label="validation top-1", better="neither")}
prediction_pictures = dict(
    pattern="predictions/*.png",
    caption="image, ground truth, prediction",
    most=3,
)
detection = {
    "coco/bbox_mAP": dict(label="box AP", main=True, scale=100),
    "coco/segm_mAP": dict(label="mask AP", scale=100),
    "coco/bbox_mAP_50": dict(label="box AP50", scale=100),
    "coco/bbox_mAP_75": dict(label="box AP75", scale=100),
}
dense_knn = {
    "mIoU": dict(label="mIoU", main=True),
    "mAcc": "mAcc",
    "aAcc": "aAcc",
    "chance/mIoU": "mIoU of the most frequent class",
}
segmentation = {
    "mIoU": dict(label="mIoU", main=True),
    "mAcc": "mAcc",
    "aAcc": "aAcc",
}
