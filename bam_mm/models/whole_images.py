"""Whole images for backbones whose pretraining hides patches: MAE, BEiT and others of mmpretrain.

Called with images alone, these classes hide patches (``MAEViT``) or fail (``BEiTPretrainViT``).
"""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any, cast

from mmpretrain.models import BEiTViT
from torch import Tensor, nn

_PRETRAINING = "mmpretrain.models.selfsup."
"""Package of the classes that hide patches."""


def forward_whole(backbone: nn.Module, images: Tensor) -> Any:
    """Run a backbone on images of which no patch is hidden, which draws no random numbers.

    ``mask=None`` is mmpretrain's word for it. (``MAEViT`` takes ``mask=False`` for True.)

    Args:
        backbone: Backbone of any library.
        images: (N, 3, H, W) normalised images.

    Returns:
        The outputs of the backbone.
    """
    kind: type = type(backbone)
    return backbone(images, mask=None) if hides_patches(kind) else backbone(images)


@cache
def hides_patches(kind: type) -> bool:
    """Return whether a class of backbones is one of mmpretrain's that take a mask."""
    ours = any(base.__module__.startswith(_PRETRAINING) for base in kind.__mro__)
    return ours and "mask" in signature(cast(Any, kind).forward).parameters


def averages_patches(backbone: nn.Module) -> bool:
    """Return whether the feature of an image is the mean of its patches, although there is [CLS].

    The loss of BEiT is on patches only, and its fine-tuning averages them, as mmpretrain's
    ``BEiTViT`` does by default.
    """
    return isinstance(backbone, BEiTViT)


def vector_of_tokens(backbone: nn.Module, tokens: Tensor) -> Tensor:
    """Return one feature vector per image from the tokens of a plain transformer.

    Args:
        backbone: The transformer.
        tokens: (N, L, C) tokens of its last block.

    Returns:
        (N, C) [CLS] tokens; without [CLS] and for BEiT, the mean of the patch tokens.
    """
    prefix = int(getattr(backbone, "num_extra_tokens", 0))
    if prefix and not averages_patches(backbone):
        return tokens[:, 0]
    return tokens[:, prefix:].mean(dim=1)
