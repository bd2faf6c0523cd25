"""Masks of a COCO file: polygons and run lengths, in the notation that pycocotools reads."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from bam_mm.data.coco.images import Size
from bam_mm.data.coco.numbers import finite_number

Mask = list[list[float]] | dict[str, Any]
Bounds = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

_FARTHEST = 200_000.0
"""Largest coordinate of a polygon: pycocotools walks along its sides pixel by pixel."""


def is_sound(mask: Any, size: Size) -> bool:
    """Return whether a mask needs no closer look: valid, with coordinates inside the image.

    Args:
        mask: ``segmentation`` of an annotation.
        size: Width and height of its image.

    Raises:
        TypeError: If a coordinate is no number.
    """
    if type(mask) is not list:
        return type(mask) is dict and _run_lengths(mask, size)[0] is mask
    most = (size[0] if size[0] > size[1] else size[1]) + 1
    for part in mask:
        number = len(part)
        # One pass of each of the three in C. The sum finds NaN, which comparisons overlook.
        if number < 6 or number & 1 or min(part) < -1 or not 1 < max(part) <= most:
            return False
        if not isfinite(sum(part)):
            return False
    return bool(mask)


def usable_mask(mask: Any, size: Size) -> tuple[Mask | None, str]:
    """Return a mask in the notation that pycocotools reads.

    Args:
        mask: ``segmentation`` of an annotation.
        size: Width and height of its image.

    Returns:
        The mask and an empty text; the same object if nothing had to be changed. None and a
        description of the fault if the mask has no pixels, or has more than one reading.
    """
    if mask is None or mask in ([], [[]], {}, ""):
        return None, "no mask"
    if isinstance(mask, dict):
        return _run_lengths(mask, size)
    if not isinstance(mask, list):
        return None, f"a mask that is neither polygons nor run lengths ({mask!r:.40})"
    return _polygons(mask, size)


def bounds_of(mask: Mask, size: Size) -> Bounds:
    """Return the bounds of a usable mask inside its image.

    Args:
        mask: Polygons or run lengths, as returned by :func:`usable_mask`.
        size: Width and height of its image.
    """
    if isinstance(mask, dict):
        x, y, width, height = (float(v) for v in mask_api.toBbox(_encoded(mask, size)))
        return x, y, x + width, y + height
    xs = [x for part in mask for x in part[0::2]]
    ys = [y for part in mask for y in part[1::2]]
    left, right = (min(max(x, 0), size[0]) for x in (min(xs), max(xs)))
    top, bottom = (min(max(y, 0), size[1]) for y in (min(ys), max(ys)))
    return left, top, right, bottom


def area_of(mask: Mask, size: Size) -> int:
    """Return the number of pixels of a usable mask inside its image.

    Args:
        mask: Polygons or run lengths, as returned by :func:`usable_mask`.
        size: Width and height of its image.
    """
    return int(mask_api.area(_encoded(mask, size)))


def _encoded(mask: Mask, size: Size) -> dict:
    found = mask
    if isinstance(mask, list):
        found = mask_api.merge(mask_api.frPyObjects(mask, size[1], size[0]))
    elif isinstance(mask["counts"], list):
        found = mask_api.frPyObjects(mask, size[1], size[0])
    return found  # type: ignore[return-value]


def _polygons(mask: list, size: Size) -> tuple[Mask | None, str]:
    parts = _parts(mask)
    if parts is None:
        return None, "a polygon with a coordinate that is no number"
    if any(len(part) % 2 for part in parts):
        return None, "a polygon with an odd number of coordinates"
    kept = [part for part in parts if len(part) >= 6]
    if not kept:
        return None, "a polygon of fewer than three points"
    if max(max(map(abs, part)) for part in kept) > _FARTHEST:
        return None, "a polygon far outside the image"
    if not _reaches(kept, size):
        return None, "a polygon outside the image"
    return (mask, "") if kept == mask else (kept, "")


def _parts(mask: list) -> list[list[float]] | None:
    """Return polygons as flat lists of finite numbers, None if one holds anything else.

    A single polygon may lack its outer list, and points may be pairs.
    """
    if not any(isinstance(part, (list, dict)) for part in mask) or (
        len(mask) >= 3
        and all(isinstance(point, list) and len(point) == 2 for point in mask)
        and not any(isinstance(value, list) for point in mask for value in point)
    ):
        mask = [mask]
    parts = []
    for part in mask:
        if isinstance(part, list) and part and all(_is_point(point) for point in part):
            part = [value for point in part for value in point]
        numbers = [finite_number(value) for value in part] if isinstance(part, list) else [None]
        if None in numbers:
            return None
        parts.append([number for number in numbers if number is not None])
    return parts


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _reaches(parts: list[list[float]], size: Size) -> bool:
    """Return whether the bounds of polygons and the image overlap or touch."""
    return any(
        max(part[0::2]) >= 0
        and min(part[0::2]) <= size[0]
        and max(part[1::2]) >= 0
        and min(part[1::2]) <= size[1]
        for part in parts
    )


def _run_lengths(mask: dict, size: Size) -> tuple[Mask | None, str]:
    width, height = size
    written = mask.get("size")
    if not isinstance(written, list) or written != [height, width]:
        return None, f"run lengths of size {written!r:.40} instead of [{height}, {width}]"
    counts = mask.get("counts")
    runs = _runs_of_text(counts) if isinstance(counts, str) else _runs_of_list(counts)
    if runs is None:
        return None, "run lengths that cannot be decoded"
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        return None, f"run lengths of {sum(runs):,} instead of {width * height:,} pixels"
    changed = {**mask, "size": [height, width]}
    if not isinstance(counts, str) and runs is not counts:
        return {**changed, "counts": runs}, ""
    return (mask if all(type(side) is int for side in written) else changed), ""


def _runs_of_list(counts: Any) -> list[int] | None:
    """Return uncompressed run lengths as integers, None if they are none."""
    if not isinstance(counts, list) or not counts:
        return None
    if all(type(count) is int for count in counts):
        return counts
    runs = [finite_number(count) for count in counts]
    if any(run is None or run != int(run) for run in runs):
        return None
    return [int(run) for run in runs if run is not None]


def _runs_of_text(text: str) -> list[int] | None:
    """Decode compressed run lengths, None if they are none.

    pycocotools reads beyond the end of a text that breaks off, so it must not see one.

    Args:
        text: Run lengths of five bits a character, each beyond the third relative to that two
            before it.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        return None
    ends = np.flatnonzero(codes & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        return None
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    runs -= np.where(codes[ends] & 0x10, 1 << (5 * lengths), 0)
    # The first run stands for itself; then odd and even ones add up, each among themselves.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()
