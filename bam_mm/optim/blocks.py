"""Residual blocks of a backbone, in the order of its forward pass."""

from __future__ import annotations

from collections.abc import Iterator

from mmpretrain.models import TIMMBackbone, VisionTransformer
from torch import nn


def residual_blocks(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the residual blocks of a backbone in the order of its forward pass.

    Nothing is yielded if the blocks of the backbone are unknown.
    """
    if isinstance(backbone, VisionTransformer):
        yield from backbone.layers
    elif isinstance(backbone, TIMMBackbone):
        for name, module in backbone.named_modules():
            if name.rpartition(".")[2] == "blocks":
                yield from module
    else:
        # mmpretrain's ResNet and its variants list the names of their stages.
        for name in getattr(backbone, "res_layers", ()):
            yield from getattr(backbone, name)
