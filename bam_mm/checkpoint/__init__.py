"""Checkpoints: read without running anybody's code, load with proof."""

from bam_mm.checkpoint.backbone import LoadReport, load_backbone
from bam_mm.checkpoint.reading import forbid_unpickling, read_checkpoint

__all__ = ["LoadReport", "forbid_unpickling", "load_backbone", "read_checkpoint"]
