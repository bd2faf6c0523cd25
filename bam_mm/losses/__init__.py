"""The BAM loss as pure functions on features."""

from bam_mm.losses.attention_matching import Matching, bam_loss, match_attention
from bam_mm.losses.balancing import balance
from bam_mm.losses.targets import keep_top_k

__all__ = ["Matching", "balance", "bam_loss", "keep_top_k", "match_attention"]
