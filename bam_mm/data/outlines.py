"""COCO's notations of a mask: polygons along the edges of its pixels, or run lengths."""

from __future__ import annotations

import numpy as np

_RIGHT_TURN = {(0, 1): (1, 0), (1, 0): (0, -1), (0, -1): (-1, 0), (-1, 0): (0, 1)}
"""Direction (dy, dx) after turning clockwise."""


def segmentation_of(mask: np.ndarray, *, crowd: bool = False) -> list[list[float]] | dict:
    """Return COCO's ``segmentation`` of a mask, which pycocotools decodes to exactly this mask.

    Args:
        mask: (H, W) mask, nonzero inside.
        crowd: Whether the mask shows a crowd, for which COCO uses run lengths.

    Returns:
        Polygons ``[x, y, x, y, ...]``, one per connected part. Uncompressed run lengths for a crowd
        or a mask with a hole, which polygons cannot represent.
    """
    loops = [] if crowd else outlines(mask)
    if crowd or any(_signed_area(loop) < 0 for loop in loops):
        return run_lengths(mask)
    return [[float(value) for point in loop for value in point[::-1]] for loop in loops]


def outlines(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Trace the closed outlines of a mask along the edges of its pixels.

    Args:
        mask: (H, W) mask, nonzero inside.

    Returns:
        Corners (y, x) of every outline, clockwise around a part and counterclockwise around a hole.
        Pixels that touch only at a corner belong to different parts.
    """
    leaving = _edges(mask)
    loops = []
    while leaving:
        # At the topmost corner no two pixels touch diagonally, and the outline turns.
        start = point = min(leaving)
        direction: tuple[int, int] | None = None
        loop: list[tuple[int, int]] = []
        while direction is None or point != start:
            ways = leaving[point]
            # Two edges leave a corner where pixels touch: the right turn stays at the same pixel.
            turn = None if direction is None else _RIGHT_TURN[direction]
            way = turn if turn in ways else ways[0]
            ways.remove(way)
            if not ways:
                del leaving[point]
            if way != direction:
                loop.append(point)
            direction = way
            point = (point[0] + way[0], point[1] + way[1])
        loops.append(loop)
    return loops


def run_lengths(mask: np.ndarray) -> dict:
    """Return COCO's uncompressed run lengths of a mask: column by column, starting outside.

    Args:
        mask: (H, W) mask, nonzero inside.

    Returns:
        Dict of ``counts`` and ``size`` (H, W).
    """
    flat = np.asarray(mask, bool).reshape(-1, order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def box_of(mask: np.ndarray) -> list[int]:
    """Return COCO's ``bbox`` of a mask that is not empty: x, y, width, height in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y, x = int(rows[0]), int(columns[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the directions of the edges that leave each corner, with the inside on the right."""
    inside = np.pad(np.asarray(mask, bool), 1)
    here = inside[1:-1, 1:-1]
    sides = (
        (inside[:-2, 1:-1], (0, 0), (0, 1)),  # above: along the top, to the right
        (inside[1:-1, 2:], (0, 1), (1, 0)),
        (inside[2:, 1:-1], (1, 1), (0, -1)),
        (inside[1:-1, :-2], (1, 0), (-1, 0)),
    )
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for neighbour, (dy, dx), way in sides:
        for y, x in np.argwhere(here & ~neighbour).tolist():
            leaving.setdefault((y + dy, x + dx), []).append(way)
    return leaving


def _signed_area(loop: list[tuple[int, int]]) -> float:
    y, x = np.asarray(loop, float).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
