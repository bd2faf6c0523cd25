"""Base of the hooks that depend on the model of a run."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from torch import nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.optim.simulated import is_simulated


class ModelHook(Hook):
    """Hook that needs the trained model, and stays out of a run that has none.

    mmpretrain's ``vis_scheduler`` runs the hooks of a config with a model that trains nothing. The
    first of these hooks takes all hooks of this package out of such a run.
    """

    def before_run(self, runner) -> None:
        """Take this package's hooks out of a run that only simulates a training."""
        if is_simulated(runner.model):
            package = __name__.partition(".")[0] + "."
            # A new list: mmengine is iterating over the old one.
            runner._hooks = [h for h in runner._hooks if not type(h).__module__.startswith(package)]


def backbone_of(runner: Any) -> nn.Module:
    """Return the backbone of a runner's possibly wrapped model.

    Raises:
        InputError: If the model has none.
    """
    model = unwrap_model(runner.model)
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise InputError(
            f"{type(model).__name__} has no backbone, which this hook needs: remove the hook from "
            "custom_hooks, or use a model with model.backbone"
        )
    return backbone
