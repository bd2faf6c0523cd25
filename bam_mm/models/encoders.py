"""Backbones inside a self-supervised model of any algorithm."""

from __future__ import annotations

from torch import nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.siamese import SiameseModel

_MOMENTUM_ENCODERS = ("target_net", "momentum_encoder", "encoder_k")
"""Attributes of mmpretrain's BYOL, MoCo v3 and MoCo with the moving average of (backbone, neck)."""


def branches_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the backbones to score: ``student``, and ``teacher`` if the model has one.

    Args:
        model: Possibly wrapped :class:`~bam_mm.models.siamese.SiameseModel`, or another
            self-supervised model of mmpretrain, whose momentum encoder counts as the teacher.
            Backbones that hide patches are used with
            :func:`~bam_mm.models.whole_images.forward_whole`.

    Raises:
        InputError: If the model has no backbone.
    """
    inner = unwrap_model(model)
    backbone = getattr(inner, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise InputError(
            f"{type(inner).__name__} has no backbone to score: remove the hook from the config, or "
            "use a self-supervised model with model.backbone"
        )
    found: dict[str, nn.Module] = {"student": backbone}
    if isinstance(inner, SiameseModel):
        if inner.teacher is not None:
            found["teacher"] = inner.teacher.backbone
        return found
    for name in _MOMENTUM_ENCODERS:
        if hasattr(inner, name):
            found["teacher"] = getattr(inner, name).module[0]
    return found
