"""Crop and resize one image, with Pillow or with the same filter in vectorised form."""

from __future__ import annotations

import mmcv
import numpy as np
import torch
import torch.nn.functional as F

BACKENDS = ("pillow", "torch")

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels."""


def crop_with_pillow(
    image: np.ndarray, box: Box, size: tuple[int, int], flip: bool = False
) -> np.ndarray:
    """Crop an image, resize it with Pillow's anti-aliased bicubic filter, and flip it.

    Args:
        image: (H, W, 3) uint8 image.
        box: Top, left, bottom, right of the crop in pixels.
        size: Height and width of the view in pixels.
        flip: Whether to flip the view horizontally.

    Returns:
        (h, w, 3) uint8 view.
    """
    top, left, bottom, right = box
    view = mmcv.imresize(
        image[top:bottom, left:right], size[::-1], interpolation="bicubic", backend="pillow"
    )
    return np.flip(view, axis=1) if flip else view


def crop_with_torch(
    image: np.ndarray, box: Box, size: tuple[int, int], flip: bool = False
) -> np.ndarray:
    """Crop an image, resize it with torch's anti-aliased bicubic filter, and flip it.

    The filter has Pillow's kernel and fixed-point arithmetic in vectorised form. Single values
    differ by one grey level, and by more only where overshoots are clamped between the two passes,
    which Pillow may run in another order. OpenCV has no such filter: its bicubic filter aliases
    when it shrinks an image, and its area filter is slower and differs more from Pillow's.

    Args:
        image: (H, W, 3) uint8 image.
        box: Top, left, bottom, right of the crop in pixels.
        size: Height and width of the view in pixels.
        flip: Whether to flip the view horizontally.

    Returns:
        (h, w, 3) uint8 view with planar memory: converting it to a (3, h, w) tensor copies nothing.
    """
    top, left, bottom, right = box
    crop = np.require(image[top:bottom, left:right], requirements=["C", "W"])
    planes = F.interpolate(
        torch.from_numpy(crop).permute(2, 0, 1)[None], size, mode="bicubic", antialias=True
    )[0]
    if flip:
        planes = planes.flip(-1)
    return planes.permute(1, 2, 0).numpy()


def box_in_reduced(box: Box, whole: tuple[int, int], reduced: tuple[int, int]) -> Box:
    """Convert a box to the pixels of an image that was decoded at a coarser scale.

    Args:
        box: Top, left, bottom, right in pixels of the whole image.
        whole: Height and width of the whole image in pixels.
        reduced: Height and width of the decoded image in pixels.

    Returns:
        The box in pixels of the decoded image. Edges are rounded to the nearest pixel, and the box
        is at least one pixel wide and high.
    """
    edges = []
    for axis in range(2):
        scale = reduced[axis] / whole[axis]
        first = min(round(box[axis] * scale), reduced[axis] - 1)
        last = min(max(round(box[axis + 2] * scale), first + 1), reduced[axis])
        edges.append((first, last))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right
