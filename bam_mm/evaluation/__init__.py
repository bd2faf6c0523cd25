"""Evaluation protocols as pure functions on features and masks."""

from bam_mm.evaluation.knn import balanced_subset, knn_predict

__all__ = ["balanced_subset", "knn_predict"]
