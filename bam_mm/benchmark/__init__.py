"""Loops, records and reports of the evaluations; importing this registers them."""

from bam_mm.benchmark.davis_metric import DAVISMetric
from bam_mm.benchmark.knn_loop import KNNTestLoop
from bam_mm.benchmark.video_loop import VideoTestLoop

__all__ = ["DAVISMetric", "KNNTestLoop", "VideoTestLoop"]
