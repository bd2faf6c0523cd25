"""The backbones inside a self-supervised model, whatever the algorithm."""

from __future__ import annotations

from torch import nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.bam import BAM

_MOMENTUM_ENCODERS = ("target_net", "momentum_encoder", "encoder_k")
"""Where mmpretrain's BYOL, MoCo v3 and MoCo keep a moving average of (backbone, neck)."""


def branches_of(model: nn.Module) -> dict[str, nn.Module]:
    """Backbones that can be scored: ``student``, and ``teacher`` where there is one.

    Args:
        model: A possibly wrapped :class:`~bam_mm.models.bam.BAM`, or another self-supervised model
            of mmpretrain, whose momentum encoder counts as the teacher.

    Raises:
        InputError: If the model has no backbone.
    """
    inner = unwrap_model(model)
    if not isinstance(getattr(inner, "backbone", None), nn.Module):
        raise InputError(
            f"{type(inner).__name__} has no backbone to score: remove the hook from the config, or "
            "choose a self-supervised model with model.backbone"
        )
    found = {"student": inner.backbone}
    if isinstance(inner, BAM):
        if inner.teacher is not None:
            found["teacher"] = inner.teacher.backbone
        return found
    for name in _MOMENTUM_ENCODERS:
        if hasattr(inner, name):
            found["teacher"] = getattr(inner, name).module[0]
    return found
