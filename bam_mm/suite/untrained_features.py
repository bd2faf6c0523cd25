"""Image features that need no network: baselines for learned features."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_histogram(images: Tensor, bins: int = 8) -> Tensor:
    """Compute the joint RGB histogram of each image.

    The cosine similarity of two histograms is their Bhattacharyya coefficient.

    Args:
        images: Images, (N, 3, H, W) uint8.
        bins: Number of bins of each channel.

    Returns:
        Square roots of the relative frequencies, (N, bins ** 3) float32.
    """
    levels = images.flatten(2).long() * bins // 256  # (N, 3, H * W)
    index = (levels[:, 0] * bins + levels[:, 1]) * bins + levels[:, 2]
    counts = torch.zeros(len(images), bins**3).scatter_add_(
        1, index, torch.ones_like(index, dtype=torch.float32)
    )
    return (counts / counts.sum(dim=1, keepdim=True)).sqrt()


def raw_pixels(images: Tensor) -> Tensor:
    """Flatten each image and subtract its mean.

    The cosine similarity of two such features is the correlation of the images.

    Args:
        images: Images, (N, C, H, W).

    Returns:
        Centred pixels, (N, C * H * W) float32.
    """
    flat = images.flatten(1).float()
    return flat - flat.mean(dim=1, keepdim=True)
