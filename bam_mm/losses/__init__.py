"""The BAM loss as pure functions on features: its plain definition, and the same numbers fast."""

from bam_mm.losses.balancing import balance, keep_top_k
from bam_mm.losses.chunked import bam_loss, match_attention
from bam_mm.losses.plain import plain_bam_loss, plain_matching
from bam_mm.losses.settings import LossSettings, Matching

IMPLEMENTATIONS = {"chunked": match_attention, "plain": plain_matching}
"""Functions that compute the loss and its entropies, by the name that ``BAMHead`` takes."""

__all__ = [
    "IMPLEMENTATIONS",
    "LossSettings",
    "Matching",
    "balance",
    "bam_loss",
    "keep_top_k",
    "match_attention",
    "plain_bam_loss",
    "plain_matching",
]
