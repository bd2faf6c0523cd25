"""Adapters of the backbones of every library to one contract."""

from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage
from bam_mm.models.adapters.lookup import adapter_of

__all__ = ["BackboneAdapter", "InputSizes", "Stage", "adapter_of"]
