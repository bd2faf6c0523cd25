"""The adapter of a backbone, by the library that its class is from."""

from __future__ import annotations

from torch import nn
from torchvision.models import VisionTransformer

from bam_mm.models.adapters.contract import BackboneAdapter
from bam_mm.models.adapters.openmmlab import SELECTORS, OpenMMLabAdapter, TransformerAdapter
from bam_mm.models.adapters.own import OwnAdapter
from bam_mm.models.adapters.timm_models import TimmAdapter
from bam_mm.models.adapters.torchvision_models import TorchvisionAdapter, TorchvisionViTAdapter
from bam_mm.models.torchvision_backbone import TorchvisionBackbone

_ATTRIBUTE = "_bam_mm_adapter"


def adapter_of(backbone: nn.Module) -> BackboneAdapter:
    """Return the adapter of a built backbone; the same one every time.

    Args:
        backbone: Backbone of mmpretrain, mmdet, mmseg, timm or torchvision, or your own, see
            :class:`~bam_mm.models.adapters.own.OwnAdapter`.
    """
    known = backbone.__dict__.get(_ATTRIBUTE)
    if known is None or known.backbone is not backbone:
        known = _kind(backbone)(backbone)
        # Not a child module, and not in the state of the backbone.
        object.__setattr__(backbone, _ATTRIBUTE, known)
    return known


def _kind(backbone: nn.Module) -> type[BackboneAdapter]:
    if isinstance(backbone, TorchvisionBackbone):
        is_vit = isinstance(backbone.net, VisionTransformer)
        return TorchvisionViTAdapter if is_vit else TorchvisionAdapter
    if hasattr(backbone, "timm_model") or hasattr(backbone, "forward_intermediates"):
        return TimmAdapter
    if {"raw", "cls_token"} <= set(getattr(backbone, "OUT_TYPES", ())):
        return TransformerAdapter
    if any(hasattr(backbone, name) for name in SELECTORS):
        return OpenMMLabAdapter
    return OwnAdapter
