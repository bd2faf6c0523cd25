"""Evaluation protocols as pure functions on features and masks."""

from bam_mm.evaluation.baselines import colour_histogram, raw_pixels
from bam_mm.evaluation.jaccard_boundary import (
    davis_j_and_f,
    davis_summary,
    object_ids,
    object_measures,
    score_object,
)
from bam_mm.evaluation.knn import balanced_subset, knn_predict
from bam_mm.evaluation.label_propagation import propagate_labels, transfer_labels
from bam_mm.evaluation.patch_matching import PatchMatches, match_patches
from bam_mm.evaluation.soft_labels import first_frame_labels, read_out
from bam_mm.evaluation.video_propagation import propagate_video

__all__ = [
    "PatchMatches",
    "balanced_subset",
    "colour_histogram",
    "davis_j_and_f",
    "davis_summary",
    "first_frame_labels",
    "knn_predict",
    "match_patches",
    "object_ids",
    "object_measures",
    "propagate_labels",
    "propagate_video",
    "raw_pixels",
    "read_out",
    "score_object",
    "transfer_labels",
]
