"""Figures of models, views, training runs and predictions; importing it registers their hooks."""

from bam_mm.figures.predictions import ShowPredictionsHook
from bam_mm.figures.show_attention import ShowAttentionHook
from bam_mm.figures.show_neighbours import ShowNeighboursHook
from bam_mm.figures.show_views import ShowViewsHook
from bam_mm.figures.tracking import TensorboardVisBackend, TrackingHook, WandbVisBackend

__all__ = [
    "ShowAttentionHook",
    "ShowNeighboursHook",
    "ShowPredictionsHook",
    "ShowViewsHook",
    "TensorboardVisBackend",
    "TrackingHook",
    "WandbVisBackend",
]
