"""Evaluation loops and metrics; importing this package registers them."""

from bam_mm.protocols.classification_loop import ClassificationTestLoop
from bam_mm.protocols.clustering_loop import ClusteringLoop
from bam_mm.protocols.davis_metric import DAVISMetric
from bam_mm.protocols.dense_knn_loop import DenseKNNTestLoop
from bam_mm.protocols.knn_loop import KNNTestLoop
from bam_mm.protocols.logreg_loop import LogisticRegressionLoop
from bam_mm.protocols.many_probes import ManyLinearProbesAccuracy, ManyLinearProbesLoop
from bam_mm.protocols.video_loop import VideoTestLoop

__all__ = [
    "ClassificationTestLoop",
    "ClusteringLoop",
    "DAVISMetric",
    "DenseKNNTestLoop",
    "KNNTestLoop",
    "LogisticRegressionLoop",
    "ManyLinearProbesAccuracy",
    "ManyLinearProbesLoop",
    "VideoTestLoop",
]
