"""Trainings that are only simulated, to draw the schedule of a config."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bam_mm.distributed import unwrap_model

TOOL = "vis_scheduler.py"
"""Tool of mmpretrain that runs a config's schedulers and hooks with a model of one convolution."""


def is_simulated(model: nn.Module) -> bool:
    """Return whether a model is the one that mmpretrain's ``vis_scheduler`` trains.

    Its ``train_step`` does nothing, and the learning rates are recorded. It has no backbone, so
    what depends on one stays out of such a run.

    Args:
        model: The possibly wrapped model of a runner.
    """
    step = getattr(type(unwrap_model(model)), "train_step", None)
    code = getattr(step, "__code__", None)
    return code is not None and Path(code.co_filename).name == TOOL
