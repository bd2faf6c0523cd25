"""Boundaries of many masks at once: one mask in each bit of a byte image.

A byte holds eight binary masks, so one bitwise operation on a byte image does the work of eight
on boolean images. Four (truth, prediction) pairs share an image: pair i has its truth in bit i and
its prediction in bit i + 4.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

PAIRS = 4
"""Pairs of masks in one byte image."""


def pack_pairs(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Pack up to four pairs of masks into one byte image.

    Args:
        truth: (n, H, W) booleans, n <= 4.
        prediction: (n, H, W) booleans.

    Returns:
        (H, W) uint8: truth i in bit i, prediction i in bit i + 4.
    """
    planes = np.zeros(truth.shape[1:], np.uint8)
    for masks in (prediction, truth):
        for i in reversed(range(PAIRS)):
            planes += planes  # moves every mask one bit up
            if i < len(masks):
                planes |= masks[i].view(np.uint8)
    return planes


def boundary_planes(planes: np.ndarray) -> np.ndarray:
    """Mark the pixels that differ from their east, south or south-east neighbour.

    Beyond the last row and column the image goes on as it ends, so that the image's edge is no
    boundary. That is the official evaluator's rule: the last row looks east only, the last column
    south only, the last pixel nowhere.

    Args:
        planes: (H, W) uint8, eight masks.

    Returns:
        (H, W) uint8, the boundaries of the eight masks.
    """
    boundary = np.zeros_like(planes)
    boundary[:, :-1] = planes[:, :-1] ^ planes[:, 1:]
    boundary[:-1] |= planes[:-1] ^ planes[1:]
    boundary[:-1, :-1] |= planes[:-1, :-1] ^ planes[1:, 1:]
    return boundary


def dilate_planes(planes: np.ndarray, radius: int) -> np.ndarray:
    """Dilate each of eight masks by the disk dx² + dy² <= radius².

    The disk is a stack of horizontal runs, longer towards its middle: going from its rim to its
    middle, the run dilated image grows by one pixel at a time and serves the rows +dy and -dy.

    Args:
        planes: (H, W) uint8, eight masks.
        radius: Of the disk, in pixels, >= 0.

    Returns:
        (H, W) uint8, the eight dilated masks, cut at the image's edge.
    """
    height, width = planes.shape
    # Empty columns on the right let a shift of the flattened image stand for a shift of its rows,
    # which is several times faster: what leaves a row falls there, and is cut off in the end.
    stride = width + radius
    padded = np.zeros((height, stride), np.uint8)
    padded[:, :width] = planes
    source = padded.ravel()
    run, dilated, half = source.copy(), np.zeros_like(source), 0
    for dy in range(radius, -1, -1):
        while half < isqrt(radius**2 - dy**2):
            half += 1
            run[half:] |= source[:-half]
            run[:-half] |= source[half:]
        if dy < height:
            dilated[dy * stride :] |= run[: (height - dy) * stride]
            dilated[: (height - dy) * stride] |= run[dy * stride :]
    return dilated.reshape(height, stride)[:, :width]


def boundary_counts(planes: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the boundary pixels of four pairs of masks, and those that the other mask confirms.

    Args:
        planes: (H, W) uint8 as ``pack_pairs`` makes it.
        radius: Distance in pixels within which a boundary pixel counts as confirmed.

    Returns:
        Two (8,) integer arrays: boundary pixels of each mask, and how many of them lie within
        ``radius`` of the boundary of the pair's other mask. Truths first, then predictions.
    """
    boundary = boundary_planes(planes)
    # Boundaries are thin: what follows the dilation is done for their few pixels only.
    at = np.flatnonzero(boundary != 0)
    own, reach = boundary.ravel()[at], dilate_planes(boundary, radius).ravel()[at]
    confirmed = own & ((reach >> PAIRS) | (reach << PAIRS))
    return _count_bits(own), _count_bits(confirmed)


def _count_bits(values: np.ndarray) -> np.ndarray:
    byte = np.arange(256, dtype=np.uint8)[:, None]
    bits = np.unpackbits(byte, axis=1, bitorder="little").astype(np.int64)
    return np.bincount(values, minlength=256) @ bits
