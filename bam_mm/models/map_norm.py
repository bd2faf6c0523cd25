"""One norm over the channels of maps, whatever layout its layer takes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a norm to the channels of a map.

    Args:
        norm: ``nn.LayerNorm`` or another layer that takes the channels last, or a layer of maps:
            BatchNorm, GroupNorm, or a class with ``2d`` in its name, such as the ``LayerNorm2d`` of
            timm, torchvision and mmpretrain.
        x: (N, C, h, w) map.

    Returns:
        (N, C, h, w) map.
    """
    of_maps = isinstance(norm, (nn.GroupNorm, _BatchNorm))
    if of_maps or any("2d" in base.__name__ for base in type(norm).__mro__):
        return norm(x)
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
