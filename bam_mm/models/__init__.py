"""Models; importing this registers them."""

from bam_mm.models.bam import BAM
from bam_mm.models.head import BAMHead
from bam_mm.models.preprocessor import MultiViewPreprocessor
from bam_mm.models.projector import BAMProjector
from bam_mm.models.teacher import MomentumTeacher, momentum_at

__all__ = [
    "BAM",
    "BAMHead",
    "BAMProjector",
    "MomentumTeacher",
    "MultiViewPreprocessor",
    "momentum_at",
]
