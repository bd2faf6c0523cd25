"""The residual blocks of a backbone, in the order of its forward pass."""

from __future__ import annotations

from collections.abc import Iterator

from mmpretrain.models import TIMMBackbone, VisionTransformer
from torch import nn


def residual_blocks(backbone: nn.Module) -> Iterator[nn.Module]:
    """The residual blocks of a backbone in the order of the forward pass; none if not known."""
    if isinstance(backbone, VisionTransformer):
        yield from backbone.layers
    elif isinstance(backbone, TIMMBackbone):
        for name, module in backbone.named_modules():
            if name.rpartition(".")[2] == "blocks":
                yield from module
    else:
        # mmpretrain's ResNets and their kin name their stages.
        for name in getattr(backbone, "res_layers", ()):
            yield from getattr(backbone, name)
