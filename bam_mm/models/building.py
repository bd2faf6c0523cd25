"""Building models outside a runner."""

from __future__ import annotations

from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import set_random_seed
from torch import nn

from bam_mm.registry import MODELS


def log_only_warnings() -> None:
    """Log warnings only: mmengine reports every tensor that ``init_weights`` leaves unchanged."""
    MMLogger.get_instance("bam_mm", log_level="WARNING")


def build_untrained(config: dict[str, Any], *, seed: int) -> nn.Module:
    """Build a model with the random weights that its training would start from.

    Args:
        config: Config of the model.
        seed: Seed of the weights.

    Returns:
        The model, in evaluation mode.
    """
    set_random_seed(seed)
    model = MODELS.build(config)
    model.init_weights()
    model.eval()
    return model
