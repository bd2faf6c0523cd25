"""Boxes of a COCO file: x, y, width and height in pixels, inside the image."""

from __future__ import annotations

from typing import Any

from bam_mm.data.coco.images import Size
from bam_mm.data.coco.masks import Bounds
from bam_mm.data.coco.numbers import finite_number

TOLERANCE = 1.0
"""Pixels by which a box may reach beyond its image, as rounding leaves it."""

Box = list[float]
"""Left, top, width and height in pixels."""


def four_numbers(box: Any) -> Box | None:
    """Return a box of four finite numbers, also of numbers written as texts; None if it is none."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [number for number in map(finite_number, box) if number is not None]
    return numbers if len(numbers) == 4 else None


def repaired_box(box: Any, bounds: Bounds | None, size: Size) -> tuple[Box | None, str]:
    """Return the box of an annotation inside its image, and a description of what was changed.

    Args:
        box: ``bbox`` of an annotation.
        bounds: Bounds of its mask inside the image; None without a mask.
        size: Width and height of its image.

    Returns:
        The box and a description, which is empty if the box is returned as it is. A box that is
        none, has no area, reaches beyond the image or lies beside the mask is that of the mask.
        Without a mask, it is cut at the border of the image. None if there is neither box nor mask.
    """
    numbers, of_mask = four_numbers(box), _box_of(bounds)
    if numbers is None:
        return of_mask, "without a box (taken from the mask)"
    x, y, width, height = numbers
    turned = [x + min(width, 0), y + min(height, 0), abs(width), abs(height)]
    faulty = not width or not height or is_beyond(turned, size) or is_beside(turned, bounds)
    if faulty and of_mask is not None:
        return of_mask, "with a box that contradicts the mask (taken from the mask)"
    if is_beyond(turned, size) and overlaps(turned, size):
        return _cut(turned, size), "with a box that reaches beyond the image (cut at the border)"
    if turned != numbers:
        return turned, "with a box of negative width or height (corners exchanged)"
    return (box, "") if numbers == box else (numbers, "with a box of texts (read as numbers)")


def is_beyond(box: Box, size: Size) -> bool:
    """Return whether a box reaches beyond its image by more than the tolerance."""
    x, y, width, height = box
    right, bottom = size[0] + TOLERANCE, size[1] + TOLERANCE
    return x < -TOLERANCE or y < -TOLERANCE or x + width > right or y + height > bottom


def overlaps(box: Box, size: Size) -> bool:
    """Return whether a box has a part of its area inside the image."""
    x, y, width, height = box
    across = min(x + width, size[0]) - max(x, 0)
    return across > 0 and min(y + height, size[1]) - max(y, 0) > 0


def is_beside(box: Box, bounds: Bounds | None) -> bool:
    """Return whether a box has no area in common with the bounds of its mask."""
    if bounds is None:
        return False
    x, y, width, height = box
    left, top, right, bottom = bounds
    return x >= right or y >= bottom or x + width <= left or y + height <= top


def _box_of(bounds: Bounds | None) -> Box | None:
    if bounds is None:
        return None
    left, top, right, bottom = bounds
    return [left, top, right - left, bottom - top] if right > left and bottom > top else None


def _cut(box: Box, size: Size) -> Box:
    x, y, width, height = box
    left, top = max(x, 0), max(y, 0)
    return [left, top, min(x + width, size[0]) - left, min(y + height, size[1]) - top]
