"""Models; importing this registers them."""

from bam_mm.models.bam import BAM
from bam_mm.models.head import BAMHead
from bam_mm.models.label_propagation import LabelPropagation
from bam_mm.models.preprocessor import MultiViewPreprocessor
from bam_mm.models.projector import BAMProjector
from bam_mm.models.student_optimizer import StudentOptimWrapperConstructor
from bam_mm.models.teacher import MomentumTeacher, momentum_at
from bam_mm.models.wrapper import EvaluationWrapper

__all__ = [
    "BAM",
    "BAMHead",
    "BAMProjector",
    "EvaluationWrapper",
    "LabelPropagation",
    "MomentumTeacher",
    "MultiViewPreprocessor",
    "StudentOptimWrapperConstructor",
    "momentum_at",
]
