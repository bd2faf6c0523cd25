"""Evaluation protocols as pure functions on features and masks."""

from bam_mm.evaluation.accuracy import accuracy_of, mean_per_class_accuracy, top1_accuracy
from bam_mm.evaluation.bootstrap import (
    Difference,
    McNemar,
    UnitScores,
    bootstrap_interval,
    bootstrap_intervals,
    mcnemar,
    paired_bootstrap,
    paired_bootstraps,
)
from bam_mm.evaluation.clustering import (
    ClusterScore,
    Draw,
    cluster,
    clustering_curve,
    draw_classes,
    summarise,
)
from bam_mm.evaluation.dense_knn import (
    PatchLabels,
    compress_shares,
    dense_knn_predict,
    enlarged_classes,
    mean_iou,
    patch_draws,
    patch_shares,
    sample_patches,
)
from bam_mm.evaluation.jaccard_boundary import (
    davis_j_and_f,
    davis_summary,
    object_ids,
    object_measures,
    score_object,
)
from bam_mm.evaluation.knn import (
    balanced_subset,
    knn_predict,
    knn_predict_many,
    knn_predict_shards,
)
from bam_mm.evaluation.label_propagation import propagate_labels, transfer_labels
from bam_mm.evaluation.logistic_regression import LogisticModel, fit_logistic_regression
from bam_mm.evaluation.patch_matching import PatchMatches, match_patches
from bam_mm.evaluation.penalty_sweep import PENALTIES, PenaltySweep, logistic_regression_sweep
from bam_mm.evaluation.similarities import SimilarityHistograms, similarity_histograms
from bam_mm.evaluation.soft_labels import first_frame_labels, read_out
from bam_mm.evaluation.video_propagation import propagate_video

__all__ = [
    "PENALTIES",
    "ClusterScore",
    "Difference",
    "Draw",
    "LogisticModel",
    "McNemar",
    "PatchLabels",
    "PatchMatches",
    "PenaltySweep",
    "SimilarityHistograms",
    "UnitScores",
    "accuracy_of",
    "balanced_subset",
    "bootstrap_interval",
    "bootstrap_intervals",
    "cluster",
    "clustering_curve",
    "compress_shares",
    "davis_j_and_f",
    "davis_summary",
    "dense_knn_predict",
    "draw_classes",
    "enlarged_classes",
    "first_frame_labels",
    "fit_logistic_regression",
    "knn_predict",
    "knn_predict_many",
    "knn_predict_shards",
    "logistic_regression_sweep",
    "match_patches",
    "mcnemar",
    "mean_iou",
    "mean_per_class_accuracy",
    "object_ids",
    "object_measures",
    "paired_bootstrap",
    "paired_bootstraps",
    "patch_draws",
    "patch_shares",
    "propagate_labels",
    "propagate_video",
    "read_out",
    "sample_patches",
    "score_object",
    "similarity_histograms",
    "summarise",
    "top1_accuracy",
    "transfer_labels",
]
