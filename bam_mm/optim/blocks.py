"""Residual blocks of a backbone, in the order of its forward pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mmpretrain.models import VisionTransformer
from torch import nn

from bam_mm.errors import InputError

CONTAINERS = (nn.Sequential, nn.ModuleList)

BLOCK = re.compile(
    r"(Block|Bottleneck|Residual|MBConv|EncoderLayer|DenseLayer|SeparableConv|ConvBnAct|TransformerLayer)(V\d)?$"
)
"""Class names of blocks in mmpretrain, timm and torchvision."""


def residual_blocks(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the residual blocks of a backbone in the order of its forward pass.

    Nothing is yielded if the blocks of the backbone are unknown.
    """
    network: Any = getattr(backbone, getattr(backbone, "wraps", ""), backbone)
    network = getattr(network, "timm_model", network)
    if isinstance(network, VisionTransformer):
        yield from network.layers
    elif hasattr(network, "res_layers"):
        # mmpretrain's ResNet and its variants list the names of their stages.
        for name in network.res_layers:
            yield from getattr(network, name)
    else:
        owners = list(_named_blocks(network)) or _stages_of_resnet(network)
        yield from [block for owner in owners for block in _flat(owner)] or _by_class(network)


def known_blocks(backbone: nn.Module, setting: str) -> list[nn.Module]:
    """Return the residual blocks of a backbone for a setting that needs them.

    Args:
        backbone: The backbone.
        setting: The setting, for the message.

    Raises:
        InputError: If the blocks of the backbone are unknown.
    """
    blocks = list(residual_blocks(backbone))
    if not blocks:
        raise InputError(
            f"{setting}: the blocks of {type(backbone).__name__} are not known; set it to False, "
            "or use a VisionTransformer, a ResNet or a timm backbone with blocks"
        )
    return blocks


def _named_blocks(module: nn.Module, name: str = "") -> Iterator[nn.Module]:
    """Yield the outermost modules with the name ``blocks``, as in timm and mmpretrain's Swin."""
    if name == "blocks":
        yield module
        return
    for child_name, child in module.named_children():
        yield from _named_blocks(child, child_name)


def _stages_of_resnet(network: nn.Module) -> list[nn.Module]:
    """Return the stages of a ResNet of timm or torchvision, an empty list for other networks."""
    stages = [getattr(network, f"layer{number}", None) for number in range(1, 5)]
    return [stage for stage in stages if stage is not None] if None not in stages else []


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of nested containers that have parameters."""
    members = [child for child in module.children() if next(child.parameters(), None) is not None]
    for child in members:
        # A sequence with single layers is a block, as in ConvMixer.
        if isinstance(child, CONTAINERS) and not any(_is_layer(part) for part in child):
            yield from _flat(child)
        else:
            yield child


def _is_layer(module: nn.Module) -> bool:
    return not list(module.children()) and bool(list(module.parameters()))


def _by_class(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost members of containers whose class is named as a block."""
    for child in module.children():
        member = isinstance(module, CONTAINERS) or type(module).__name__.endswith("Stage")
        if member and BLOCK.search(type(child).__name__):
            yield child
        else:
            yield from _by_class(child)
