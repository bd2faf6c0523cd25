"""Functions that build models without a runner."""

from __future__ import annotations

from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import set_random_seed
from torch import nn

from bam_mm.registry import MODELS

LOGGER = "bam_mm"
"""Name of the logger that is active outside a runner."""


def log_only_warnings() -> None:
    """Log warnings only: mmengine reports every tensor that ``init_weights`` leaves unchanged."""
    # A second creation with arguments would warn.
    options = {} if MMLogger.check_instance_created(LOGGER) else {"log_level": "WARNING"}
    MMLogger.get_instance(LOGGER, **options)


def build_untrained(config: dict[str, Any], *, seed: int) -> nn.Module:
    """Build a model with the random weights that its training would start from.

    Args:
        config: Config of the model.
        seed: Seed of the random weights.

    Returns:
        The model, in evaluation mode.
    """
    set_random_seed(seed)
    model = MODELS.build(config)
    model.init_weights()
    model.eval()
    return model
