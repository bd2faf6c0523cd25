"""Features that no network made: what a learned feature has to beat."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_histogram(images: Tensor, bins: int = 8) -> Tensor:
    """Joint RGB histogram of each image; the cosine of two is their Bhattacharyya coefficient.

    Args:
        images: (N, 3, H, W) uint8.
        bins: Bins of each channel.

    Returns:
        (N, bins ** 3) float32: square roots of the relative frequencies.
    """
    levels = images.flatten(2).long() * bins // 256  # (N, 3, H * W)
    index = (levels[:, 0] * bins + levels[:, 1]) * bins + levels[:, 2]
    counts = torch.zeros(len(images), bins**3).scatter_add_(
        1, index, torch.ones_like(index, dtype=torch.float32)
    )
    return (counts / counts.sum(dim=1, keepdim=True)).sqrt()


def raw_pixels(images: Tensor) -> Tensor:
    """The pixels themselves, each image centred: the cosine of two is their correlation.

    Args:
        images: (N, C, H, W).

    Returns:
        (N, C * H * W) float32.
    """
    flat = images.flatten(1).float()
    return flat - flat.mean(dim=1, keepdim=True)
