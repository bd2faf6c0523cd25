"""Widths and strides of a backbone that does not state them, from a small black image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, Stage
from bam_mm.models.torchvision_backbone import TorchvisionBackbone

SIDES = (64, 224, 256)
"""Sides of the image in pixels; the next one is for backbones that the one before does not fit."""


@torch.no_grad()
def measured(
    adapter: BackboneAdapter, forward: Callable[[Tensor], Sequence[Any]]
) -> tuple[list[Any], int]:
    """Compute the outputs of a backbone for a black image.

    Args:
        adapter: Adapter of the backbone. The backbone is in evaluation mode meanwhile.
        forward: Function of an image (1, 3, side, side) that returns the outputs.

    Returns:
        The outputs, and the side of the image in pixels.

    Raises:
        InputError: If the backbone fails on every size; the message has the reason.
    """
    parameter = next(adapter.backbone.parameters(), torch.zeros(()))
    with evaluating(adapter.backbone):
        for side in SIDES:
            image = torch.zeros(1, 3, side, side, device=parameter.device)
            try:
                found = list(forward(image))
            except (AssertionError, IndexError, RuntimeError, ValueError) as error:
                failure = error
                continue
            maps = [x for x in found if isinstance(x, Tensor) and x.ndim == 4]
            if side == SIDES[1] or not any(side % x.shape[3] for x in maps):
                return found, side
    reason = (str(failure).strip().splitlines() or [""])[0]
    raise InputError(
        f"{adapter.name} fails on a black image of {side}x{side} pixels, on which its maps are "
        f"measured: {type(failure).__name__}: {reason}"
    ) from failure


def deepest(
    adapter: BackboneAdapter, outputs: Sequence[Any], side: int, *, by_layer: bool
) -> list[Stage]:
    """Describe the maps among the outputs of a backbone.

    Args:
        adapter: Adapter of the backbone.
        outputs: Maps (1, C, h, w) in the order of the forward pass.
        side: Side of the image in pixels.
        by_layer: Whether the outputs are those of layers, of which the last one of each stride is a
            stage; otherwise every output is one, unless most have the stride of another.

    Returns:
        The stages, not yet numbered by stride.

    Raises:
        InputError: If an output is no map.
    """
    stages: list[Stage] = []
    for place, x in enumerate(outputs):
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise adapter.misfit(x, "a map (N, C, h, w)", f"output {place}")
        # Convolutions without padding lose positions: 224 pixels become 55, then 27.
        stages.append(Stage(place, x.shape[1], _stride(side, x.shape[3]), f"output {place}", place))
    if by_layer or len({stage.stride for stage in stages}) in range(2, len(stages) // 2 + 2):
        pairs = zip(stages, [*stages[1:], None], strict=True)
        stages = [a for a, b in pairs if b is None or a.stride != b.stride]
    return stages


@contextmanager
def evaluating(backbone: nn.Module) -> Iterator[None]:
    """Set every module to evaluation mode, and back to its own mode afterwards."""
    modules: list[nn.Module] = list(backbone.modules())
    # The model of torchvision shares its children with the backbone, but has a mode of its own.
    modules += [m.net for m in modules if isinstance(m, TorchvisionBackbone)]
    were = {module: module.training for module in modules}
    for module in were:
        module.training = False
    try:
        yield
    finally:
        for module, mode in were.items():
            module.training = mode


def _stride(side: int, length: int) -> int:
    return side // length if not side % length else 2 ** round(log2(side / length))
