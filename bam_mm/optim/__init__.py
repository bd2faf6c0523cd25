"""Optimizers and parameter groups; importing this package registers them."""

from bam_mm.optim.amp_wrapper import AmpOptimWrapper
from bam_mm.optim.lars import LARS
from bam_mm.optim.layer_decay import LayerDecayOptimWrapperConstructor
from bam_mm.optim.many_probes import ManyLinearProbesConstructor
from bam_mm.optim.sharding import ShardedStrategy
from bam_mm.optim.student_groups import StudentOptimWrapperConstructor
from bam_mm.optim.summary import BriefOptimWrapperConstructor

__all__ = [
    "LARS",
    "AmpOptimWrapper",
    "BriefOptimWrapperConstructor",
    "LayerDecayOptimWrapperConstructor",
    "ManyLinearProbesConstructor",
    "ShardedStrategy",
    "StudentOptimWrapperConstructor",
]
