"""Pretraining methods that mmpretrain lacks; importing this package registers them.

Their losses and heads are those of lightly, which is imported when a model is built.
"""

from bam_mm.methods.dino import DINO, DINOHead, DINOProjector
from bam_mm.methods.nnclr import NNCLR, NNCLRHead
from bam_mm.methods.relic import ReLIC, ReLICHead, relic_loss
from bam_mm.methods.simclr import SimCLR, SimCLRHead
from bam_mm.methods.swav import SwAVHead, SwAVNeck

__all__ = [
    "DINO",
    "NNCLR",
    "DINOHead",
    "DINOProjector",
    "NNCLRHead",
    "ReLIC",
    "ReLICHead",
    "SimCLR",
    "SimCLRHead",
    "SwAVHead",
    "SwAVNeck",
    "relic_loss",
]
