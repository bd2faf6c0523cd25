"""The loss without matrices in memory: chunks of images, the gradient formed in the forward pass.

Read :mod:`bam_mm.losses.plain` for the definition; docs/loss.md derives this form from it.
"""

from bam_mm.losses.chunked.loss import bam_loss, match_attention

__all__ = ["bam_loss", "match_attention"]
