"""Loops, records and reports of the evaluations; importing this registers them."""

from bam_mm.benchmark.knn_loop import KNNTestLoop

__all__ = ["KNNTestLoop"]
