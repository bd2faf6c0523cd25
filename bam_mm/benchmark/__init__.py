"""Loops, records and reports of the evaluations; importing this registers them."""

from bam_mm.benchmark.clustering_loop import ClusteringLoop
from bam_mm.benchmark.davis_metric import DAVISMetric
from bam_mm.benchmark.knn_loop import KNNTestLoop
from bam_mm.benchmark.logreg_loop import LogisticRegressionLoop
from bam_mm.benchmark.prediction_pictures import ShowPredictionsHook
from bam_mm.benchmark.video_loop import VideoTestLoop

__all__ = [
    "ClusteringLoop",
    "DAVISMetric",
    "KNNTestLoop",
    "LogisticRegressionLoop",
    "ShowPredictionsHook",
    "VideoTestLoop",
]
