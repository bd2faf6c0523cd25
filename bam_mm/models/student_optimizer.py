"""The optimizer of a model with a teacher."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StudentOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default, but silent about the teacher.

    The default visits every parameter and warns of each that has no gradient: all of the teacher's,
    a wall of text at the start of each run.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs) -> None:
        """Add the parameters of ``module``, except the teacher's."""
        if prefix != "teacher":
            super().add_params(params, module, prefix=prefix, **kwargs)
