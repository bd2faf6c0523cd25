"""Rows of small pictures in one image, drawn in milliseconds, for hooks that draw in a training."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

GAP = 3
"""Distance of two tiles in pixels; the background is white."""


def grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Arrange tiles in rows.

    Args:
        rows: Tiles (h, w, 3) uint8 of any sizes; a row is as high as its highest tile.

    Returns:
        Image (H, W, 3) uint8.
    """
    strips = [_row(row) for row in rows if row]
    width = max(strip.shape[1] for strip in strips)
    parts = [_gap(GAP, width)] * (2 * len(strips) - 1)
    parts[::2] = [_padded(strip, strip.shape[0], width) for strip in strips]
    return np.vstack(parts)


def tile(image: np.ndarray, *, height: int) -> np.ndarray:
    """Scale an image to a height; a small one is enlarged without smoothing.

    Args:
        image: Image (h, w, 3) uint8.
        height: Height of the result in pixels.

    Returns:
        Image (``height``, w', 3) uint8.
    """
    size = max(round(image.shape[1] * height / image.shape[0]), 1), height
    method = cv2.INTER_NEAREST if height > image.shape[0] else cv2.INTER_AREA
    return cv2.resize(image, size, interpolation=method)


def frame(
    picture: np.ndarray,
    box: Sequence[float],
    colour: Sequence[int],
    *,
    scale: float = 1.0,
    thickness: int = 1,
) -> None:
    """Draw the frame of a box into a picture.

    Args:
        picture: Image (h, w, 3) uint8, changed in place.
        box: Top, left, bottom, right in pixels before scaling.
        colour: Red, green and blue from 0 to 255.
        scale: Size of the picture divided by that of the image that the box belongs to.
        thickness: Thickness of the line in pixels.
    """
    top, left, bottom, right = (round(float(side) * scale) for side in box)
    far = (max(right - 1, left), max(bottom - 1, top))
    # A dark line underneath keeps the frame visible on any image.
    for ink, width in (((0, 0, 0), thickness + 2), (tuple(colour), thickness)):
        cv2.rectangle(picture, (left, top), far, ink, width)


def _row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    height = max(each.shape[0] for each in tiles)
    parts = [_gap(height, GAP)] * (2 * len(tiles) - 1)
    parts[::2] = [_padded(each, height, each.shape[1]) for each in tiles]
    return np.hstack(parts)


def _padded(image: np.ndarray, height: int, width: int) -> np.ndarray:
    white = _gap(height, width)
    white[: image.shape[0], : image.shape[1]] = image
    return white


def _gap(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)
