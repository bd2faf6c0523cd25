"""Which maps of a network a detector or segmentor uses: by stride, or by depth."""

from __future__ import annotations

from collections.abc import Sequence

from bam_mm.models.adapters import Stage

FINEST = 4
"""Smallest stride of a map that is used, in pixels; the stems of pyramids are finer."""

THIRDS = (1 / 3, 1 / 2, 2 / 3, 1)
"""Relative depths of the blocks whose outputs are maps, as in the configs of ViT-S and ViT-B."""


def is_column(strides: Sequence[float]) -> bool:
    """Return whether all maps have the same stride, as those of a plain transformer."""
    return len({*strides}) == 1 and len(strides) > 1


def default_stages(stages: Sequence[Stage], number: int = 4) -> list[Stage]:
    """Choose the maps that a detector uses.

    For a pyramid, these are the deepest maps of each stride of at least :data:`FINEST` pixels: 4,
    8, 16 and 32 for most networks. A stem or a first stage of stride 2 is left out, wherever a
    library starts to count. For a column of equal blocks, they are the outputs at a third, half and
    two thirds of the depth and at the end.

    Args:
        stages: All maps of the network, in the order of its forward pass.
        number: Maximum number of maps.

    Returns:
        The chosen stages, in the same order. There are fewer than ``number`` if the network has
        fewer strides or blocks.
    """
    if is_column([stage.stride for stage in stages]):
        depths = THIRDS if number == len(THIRDS) else [(n + 1) / number for n in range(number)]
        return [stages[n] for n in sorted({block_at(depth, len(stages)) for depth in depths})]
    deepest = {stage.stride: stage for stage in stages if stage.stride >= FINEST}
    return sorted(deepest.values(), key=lambda stage: stage.index)[-number:]


def block_at(depth: float, number: int) -> int:
    """Return the index of the block that ends at a relative depth.

    Args:
        depth: Relative depth, above 0 and at most 1.
        number: Number of blocks.
    """
    return max(round(depth * number), 1) - 1


def same_depths(blocks: Sequence[int], before: int, after: int) -> list[int]:
    """Return the blocks of another network at the same relative depths.

    Args:
        blocks: Indices of blocks of a network, counted from 0.
        before: Number of blocks of that network.
        after: Number of blocks of the other network.

    Returns:
        Ascending indices, without repetitions.
    """
    return sorted({block_at((block + 1) / before, after) for block in blocks})
