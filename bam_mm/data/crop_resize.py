"""Crop and resize one image: Pillow's way, and the same filter in vectorised form."""

from __future__ import annotations

import mmcv
import numpy as np
import torch
import torch.nn.functional as F

BACKENDS = ("pillow", "torch")

Box = tuple[int, int, int, int]


def crop_with_pillow(
    image: np.ndarray, box: Box, size: tuple[int, int], flip: bool = False
) -> np.ndarray:
    """Crop, resize by Pillow's anti-aliased bicubic filter, and flip.

    Args:
        image: (H, W, 3) uint8.
        box: Top, left, bottom, right in pixels.
        size: Height and width of the view.
        flip: Whether to swap left and right.

    Returns:
        (*size, 3) uint8.
    """
    top, left, bottom, right = box
    view = mmcv.imresize(
        image[top:bottom, left:right], size[::-1], interpolation="bicubic", backend="pillow"
    )
    return np.flip(view, axis=1) if flip else view


def crop_with_torch(
    image: np.ndarray, box: Box, size: tuple[int, int], flip: bool = False
) -> np.ndarray:
    """Do the same by torch's anti-aliased bicubic filter for uint8.

    It has Pillow's kernel and fixed-point arithmetic in vectorised form: single values differ, by
    one grey level, and by more only where overshoots are clamped between the two passes, whose
    order is Pillow's own choice. OpenCV has no such filter: its bicubic one aliases when it
    shrinks, and its area average, farther from Pillow's filter, takes longer than this.

    Args:
        image: (H, W, 3) uint8.
        box: Top, left, bottom, right in pixels.
        size: Height and width of the view.
        flip: Whether to swap left and right.

    Returns:
        (*size, 3) uint8, whose memory is planar: turning it into a (3, h, w) tensor copies nothing.
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
    """Move a box into an image that was decoded at a coarser scale.

    Args:
        box: Top, left, bottom, right in pixels of the whole image.
        whole: Height and width of the whole image.
        reduced: Height and width of the decoded one.

    Returns:
        The box in pixels of the decoded image, each edge at the nearest pixel, at least one pixel
        wide and high.
    """
    edges = []
    for axis in range(2):
        scale = reduced[axis] / whole[axis]
        first = min(round(box[axis] * scale), reduced[axis] - 1)
        last = min(max(round(box[axis + 2] * scale), first + 1), reduced[axis])
        edges.append((first, last))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right
