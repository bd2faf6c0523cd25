"""Checkpoints: read without running anybody's code, load with proof."""

from bam_mm.checkpoint.reading import forbid_unpickling, read_checkpoint

__all__ = ["forbid_unpickling", "read_checkpoint"]
