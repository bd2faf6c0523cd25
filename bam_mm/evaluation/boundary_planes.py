"""Boundaries of many masks at once, with one mask in each bit of a byte image.

A byte holds eight binary masks, so one bitwise operation on a byte image does the work of eight
on boolean images. Four (truth, prediction) pairs share an image: pair i has its truth in bit i and
its prediction in bit i + 4.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

PAIRS = 4
"""Number of mask pairs in one byte image."""


def pack_pairs(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Pack up to four pairs of masks into one byte image.

    Args:
        truth: (n, H, W) boolean masks, n <= 4.
        prediction: (n, H, W) boolean masks.

    Returns:
        (H, W) uint8 image with truth i in bit i and prediction i in bit i + 4.
    """
    planes = np.zeros(truth.shape[1:], np.uint8)
    for masks in (prediction, truth):
        for i in reversed(range(PAIRS)):
            planes += planes  # shifts every mask up by one bit
            if i < len(masks):
                planes |= masks[i].view(np.uint8)
    return planes


def boundary_planes(planes: np.ndarray) -> np.ndarray:
    """Mark the pixels that differ from their east, south or south-east neighbour.

    The edge of the image is not a boundary. As in the official evaluator, the last row is compared
    with its east neighbours only, the last column with its south neighbours only, and the last
    pixel with nothing.

    Args:
        planes: (H, W) uint8 image of eight masks.

    Returns:
        (H, W) uint8 image of the boundaries of the eight masks.
    """
    boundary = np.zeros_like(planes)
    boundary[:, :-1] = planes[:, :-1] ^ planes[:, 1:]
    boundary[:-1] |= planes[:-1] ^ planes[1:]
    boundary[:-1, :-1] |= planes[:-1, :-1] ^ planes[1:, 1:]
    return boundary


def dilate_planes(planes: np.ndarray, radius: int) -> np.ndarray:
    """Dilate each of eight masks by the disk dx² + dy² <= radius².

    The disk is a stack of horizontal runs that grow from its top and bottom towards its middle. The
    image dilated by the current run is widened one pixel at a time, and used for the rows +dy and
    -dy.

    Args:
        planes: (H, W) uint8 image of eight masks.
        radius: Radius of the disk in pixels, >= 0.

    Returns:
        (H, W) uint8 image of the eight dilated masks, cropped to the image.
    """
    height, width = planes.shape
    # With empty columns on the right, shifting the flattened image shifts every row, which is
    # several times faster. Pixels that leave a row land in these columns and are cut off at the
    # end.
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
        planes: (H, W) uint8 image from :func:`pack_pairs`.
        radius: Distance in pixels within which a boundary pixel counts as confirmed.

    Returns:
        Two (8,) integer arrays, truths first, then predictions: the number of boundary pixels of
        each mask, and the number of those that lie within ``radius`` of the boundary of the other
        mask of the pair.
    """
    boundary = boundary_planes(planes)
    # Boundaries are thin, so everything after the dilation runs on their few pixels only.
    at = np.flatnonzero(boundary != 0)
    own, reach = boundary.ravel()[at], dilate_planes(boundary, radius).ravel()[at]
    confirmed = own & ((reach >> PAIRS) | (reach << PAIRS))
    return _count_bits(own), _count_bits(confirmed)


def _count_bits(values: np.ndarray) -> np.ndarray:
    byte = np.arange(256, dtype=np.uint8)[:, None]
    bits = np.unpackbits(byte, axis=1, bitorder="little").astype(np.int64)
    return np.bincount(values, minlength=256) @ bits
