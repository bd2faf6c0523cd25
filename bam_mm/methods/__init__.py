"""Pretraining methods that mmpretrain lacks; importing this package registers them.

Their losses and heads are those of lightly, which is imported when a model is built.
"""

from bam_mm.methods.dino import DINO, DINOHead, DINOProjector
from bam_mm.methods.nnclr import NNCLR, NNCLRHead
from bam_mm.methods.relic import ReLIC, ReLICHead, relic_loss
from bam_mm.methods.swav_head import SwAVHead
from bam_mm.methods.two_norms import TwoNormPreprocessor
from bam_mm.methods.visual_words import VisualWords, fit_words

__all__ = [
    "DINO",
    "NNCLR",
    "DINOHead",
    "DINOProjector",
    "NNCLRHead",
    "ReLIC",
    "ReLICHead",
    "SwAVHead",
    "TwoNormPreprocessor",
    "VisualWords",
    "fit_words",
    "relic_loss",
]
