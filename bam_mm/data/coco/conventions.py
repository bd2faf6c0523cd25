"""In which convention the coordinates of a whole file are written.

A single box of 0 to 1 is a tiny box; a file of such boxes is normalised. These checks look at a
sample of the annotations, and stop where another reading than COCO's is likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bam_mm.data.coco.boxes import TOLERANCE, Box, four_numbers, is_beside, is_beyond
from bam_mm.data.coco.identifiers import References
from bam_mm.data.coco.images import Size
from bam_mm.data.coco.masks import bounds_of, usable_mask
from bam_mm.errors import InputError

SAMPLE = 1000
"""Number of annotations to look at."""

_ROUNDING = 1.5
"""Pixels by which a box and the bounds of its mask differ where both are right."""


@dataclass(frozen=True)
class _Look:
    """What one annotation shows about the convention; None where it shows nothing."""

    name: str
    box: Box | None
    size: Size
    normalised_box: bool | None = None
    normalised_mask: bool | None = None
    corners: bool | None = None
    elsewhere: bool | None = None
    beside: bool | None = None


def check_conventions(
    content: Mapping[str, Any], sizes: Mapping[Any, Size], place: str, most: int = SAMPLE
) -> None:
    """Check that boxes are x, y, width, height in pixels, and polygons are in pixels.

    Args:
        content: Content of the file.
        sizes: Size of each image by its id.
        place: Path of the file, for messages.
        most: Number of annotations to look at.

    Raises:
        InputError: If boxes or polygons are normalised, boxes hold two corners, or annotations lie
            outside their images, or boxes beside their masks.
    """
    annotations = content["annotations"]
    references = References(list(sizes))
    step = -(-len(annotations) // most) or 1
    looks = []
    for index in range(0, len(annotations), step):
        size = sizes.get(references.find(annotations[index].get("image_id")))
        if size is not None:
            looks.append(_look(annotations[index], index, size))
    _check_share(looks, "normalised_box", 0.9, place, _NORMALISED_BOXES)
    _check_share(looks, "normalised_mask", 0.9, place, _NORMALISED_MASKS)
    _check_share(looks, "corners", 0.5, place, _CORNERS)
    _check_corners_without_masks(looks, place)
    _check_share(looks, "elsewhere", 0.05, place, _ELSEWHERE)
    _check_share(looks, "beside", 0.05, place, _BESIDE)


_NORMALISED_BOXES = (
    "has boxes normalised to 0 to 1",
    "multiply x and width by the width of the image, y and height by its height (YOLO's x and y "
    "are the middle of the box, so subtract half of its size first)",
)
_NORMALISED_MASKS = (
    "has polygons normalised to 0 to 1",
    "multiply x by the width of the image and y by its height",
)
_CORNERS = (
    "has boxes of two corners (x1, y1, x2, y2)",
    "write x, y, width and height, which are x1, y1, x2 - x1 and y2 - y1",
)
_ELSEWHERE = (
    "has annotations outside their images",
    "check width and height of the images, and export the annotations again for images of this "
    "size",
)

_BESIDE = (
    "has boxes that do not touch their masks",
    "export boxes and masks again from the same images, or remove bbox to take it from the masks",
)


def _check_share(
    looks: list[_Look], what: str, share: float, place: str, texts: tuple[str, str]
) -> None:
    voting = [look for look in looks if getattr(look, what) is not None]
    found = [look for look in voting if getattr(look, what)]
    if found and len(found) > share * len(voting):
        _stop(found, len(voting), place, texts)


def _check_corners_without_masks(looks: list[_Look], place: str) -> None:
    """Check boxes without masks: read as COCO's, boxes of corners reach beyond the image."""
    boxes = [look for look in looks if look.corners is None and look.box is not None]
    beyond = [look for look in boxes if _is_corner_pair(look) and _ends_beyond(look)]
    others = [look for look in boxes if not _is_corner_pair(look)]
    if beyond and len(beyond) > 0.1 * len(boxes) and len(others) <= 0.01 * len(boxes):
        _stop(beyond, len(boxes), place, _CORNERS)


def _stop(found: list[_Look], number: int, place: str, texts: tuple[str, str]) -> None:
    first = found[0]
    fault, remedy = texts
    raise InputError(
        f"{place} {fault} ({len(found):,} of {number:,} looked at; the first: {first.name} with "
        f"bbox {first.box} in an image of {first.size[0]}x{first.size[1]} px): {remedy}"
    )


def _look(annotation: Mapping[str, Any], index: int, size: Size) -> _Look:
    name = name_of(annotation, index)
    box = four_numbers(annotation.get("bbox"))
    mask, fault = usable_mask(annotation.get("segmentation"), size)
    polygons = [v for part in mask for v in part] if isinstance(mask, list) else []
    bounds = bounds_of(mask, size) if mask is not None else None
    found: dict[str, bool] = {}
    if max(size) > 8 and box:
        found["normalised_box"] = min(box) >= 0 and max(box) <= 1 and min(box[2:]) > 0
    if max(size) > 8 and polygons:
        found["normalised_mask"] = min(polygons) >= 0 and 0 < max(polygons) <= 1
    if box and bounds:
        x, y, width, height = box
        usual = min(width, height) > 0 and not is_beyond(box, size)
        found["beside"] = usual and is_beside(box, bounds)
        found["corners"] = _near(box, bounds) and not _near((x, y, x + width, y + height), bounds)
    if box or fault.endswith("outside the image"):
        found["elsewhere"] = bounds is None and (box is None or _is_elsewhere(box, size))
    return _Look(name, box, size, **found)


def name_of(annotation: Mapping[str, Any], index: int) -> str:
    """Return how a message names an annotation: by its id, else by its place in the list."""
    known = type(annotation.get("id")) in (int, str)
    return f"annotation {annotation['id']!r:.80}" if known else f"annotations[{index}]"


def _near(first: Any, second: Any) -> bool:
    return all(abs(a - b) <= _ROUNDING for a, b in zip(first, second, strict=True))


def _is_elsewhere(box: Box, size: Size) -> bool:
    """Return whether the middle of a box is outside its image."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return not (0 <= x <= size[0] and 0 <= y <= size[1])


def _is_corner_pair(look: _Look) -> bool:
    left, top, right, bottom = look.box or (0, 0, 0, 0)
    inside = right <= look.size[0] + TOLERANCE and bottom <= look.size[1] + TOLERANCE
    return inside and -TOLERANCE <= left < right and -TOLERANCE <= top < bottom


def _ends_beyond(look: _Look) -> bool:
    x, y, width, height = look.box or (0, 0, 0, 0)
    return x + width > look.size[0] + TOLERANCE or y + height > look.size[1] + TOLERANCE
