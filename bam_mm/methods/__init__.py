"""Pretraining methods beside BAM; importing this package registers them.

Losses and heads of DINO, NNCLR and SwAV are those of lightly, which is imported when a model is
built.
"""

from bam_mm.methods.byol import BYOL
from bam_mm.methods.dino import DINO, DINOHead, DINOProjector
from bam_mm.methods.mocov3 import MoCoV3, MoCoV3Head
from bam_mm.methods.nnclr import NNCLR, NNCLRHead
from bam_mm.methods.relic import ReLIC, ReLICHead, relic_loss
from bam_mm.methods.simclr import SimCLR, SimCLRHead
from bam_mm.methods.swav import SwAV, SwAVHead
from bam_mm.methods.two_norms import TwoNormPreprocessor
from bam_mm.methods.visual_words import VisualWords, fit_words

__all__ = [
    "BYOL",
    "DINO",
    "NNCLR",
    "DINOHead",
    "DINOProjector",
    "MoCoV3",
    "MoCoV3Head",
    "NNCLRHead",
    "ReLIC",
    "ReLICHead",
    "SimCLR",
    "SimCLRHead",
    "SwAV",
    "SwAVHead",
    "TwoNormPreprocessor",
    "VisualWords",
    "fit_words",
    "relic_loss",
]
