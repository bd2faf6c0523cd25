"""Figures of models, views, training runs and predictions; importing this registers the hook."""

from bam_mm.figures.predictions import ShowPredictionsHook

__all__ = ["ShowPredictionsHook"]
