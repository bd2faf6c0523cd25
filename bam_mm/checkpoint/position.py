"""Adapting position embeddings and position biases to the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDINGS = ("pos_embed", "pos_embedding")
"""Ends of the names of position embeddings, in timm and mmpretrain, and in torchvision."""

SHARED_BIAS = "rel_pos_bias.relative_position_bias_table"
SHARED_INDEX = "rel_pos_bias.relative_position_index"
BLOCK_BIAS = ".attn.relative_position_bias_table"


def resize_position_embeddings(
    backbone: nn.Module, wanted: Mapping[str, Tensor], found: dict[str, Tensor]
) -> list[str]:
    """Resize position embeddings bicubically to the patch grid of the backbone.

    Args:
        backbone: Backbone whose patch grid is used.
        wanted: Tensors of the backbone by name.
        found: Tensors of the file by their names in the backbone, changed in place. Position
            embeddings (1, extra + side^2, D) become (1, extra + h*w, D) if only the grid differs.

    Returns:
        The resized tensors, as ``name: 14x14 -> 6x6``.
    """
    resized = []
    for key, own in wanted.items():
        other = found.get(key)
        if not key.endswith(EMBEDDINGS) or other is None or own.ndim != 3:
            continue
        grid = _grid(backbone, key)
        if other.shape == own.shape or grid is None or other.ndim != 3:
            continue
        # Class tokens and the like come first and have no position in the grid.
        extra = own.shape[1] - grid[0] * grid[1]
        side = isqrt(max(other.shape[1] - extra, 0))
        if side**2 + extra != other.shape[1] or not side or other.shape[2] != own.shape[2]:
            continue
        places = other[:, extra:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        places = F.interpolate(places, size=grid, mode="bicubic", align_corners=False)
        places = places.flatten(2).transpose(1, 2).to(other.dtype)
        found[key] = other.new_empty(own.shape)
        found[key][:, :extra], found[key][:, extra:] = other[:, :extra], places
        resized.append(f"{key}: {side}x{side} -> {grid[0]}x{grid[1]}")
    return resized


def spread_shared_bias(wanted: Mapping[str, Tensor], found: dict[str, Tensor]) -> str:
    """Copy BEiT's shared relative position bias to each block.

    BEiT is pretrained with one bias for all blocks and fine-tuned with one bias per block.

    Args:
        wanted: Tensors of the backbone by name.
        found: Tensors of the file by their names in the backbone, changed in place.

    Returns:
        Description of the change, ``""`` if nothing was copied.
    """
    blocks = [key for key in wanted if key.endswith(BLOCK_BIAS) and key not in found]
    if SHARED_BIAS not in found or SHARED_BIAS in wanted or not blocks:
        return ""
    bias = found.pop(SHARED_BIAS)
    found.pop(SHARED_INDEX, None)
    found.update({key: bias.clone() for key in blocks})
    return f"copied the shared relative position bias to {len(blocks)} blocks"


def _grid(backbone: nn.Module, key: str) -> tuple[int, int] | None:
    # mmpretrain, timm and torchvision name the patch grid differently.
    owner = backbone.get_submodule(key.rpartition(".")[0])
    embed = getattr(owner, "patch_embed", None)
    grid = getattr(embed, "init_out_size", None) or getattr(embed, "grid_size", None)
    if grid is None and key.endswith(EMBEDDINGS[1]):
        net: Any = getattr(backbone, "net", backbone)
        side, patch = getattr(net, "image_size", None), getattr(net, "patch_size", None)
        grid = (side // patch,) * 2 if isinstance(side, int) and isinstance(patch, int) else None
    return tuple(grid) if grid is not None else None
