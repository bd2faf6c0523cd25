"""Histograms of feature similarities between views of one image, of one class, and of others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SimilarityHistograms:
    """Numbers of pairs by cosine similarity (paper, Fig. 1).

    Attributes:
        edges: (bins + 1,) float64 edges of the bins, from -1 to 1.
        positive: (bins,) int64 counts of pairs of two views of the same image.
        same_class: (bins,) int64 counts of pairs of different images of the same class.
        other: (bins,) int64 counts of pairs of images of different classes.
    """

    edges: Tensor
    positive: Tensor
    same_class: Tensor
    other: Tensor


@torch.no_grad()
def similarity_histograms(
    first: Tensor, second: Tensor, labels: Tensor, *, bins: int = 100, chunk: int = 1024
) -> SimilarityHistograms:
    """Count all pairs of a first view and a second view by their cosine similarity.

    ::

        for i in images: for j in images:
            kind = positive if i == j else same_class if labels[i] == labels[j] else other
            count[kind][bin(cos(first[i], second[j]))] += 1

    Args:
        first: (N, D) features of one view of each image; normalised here.
        second: (N, D) features of another view of each image; normalised here.
        labels: (N,) integer class labels.
        bins: Number of bins of equal width between -1 and 1. The last one includes 1.
        chunk: Number of first views per step. At most chunk x N similarities exist at once.

    Returns:
        The histograms of the N² pairs.

    Raises:
        ValueError: If shapes do not agree, ``bins`` is not positive, or features are not finite.
    """
    if first.ndim != 2 or first.shape != second.shape or labels.shape != first.shape[:1]:
        raise ValueError(
            f"first {tuple(first.shape)}, second {tuple(second.shape)} and labels "
            f"{tuple(labels.shape)} must be (N, D), (N, D) and (N,): pass two views of the same "
            "images"
        )
    if bins < 1:
        raise ValueError(f"bins={bins}: set at least 1; 100 is usual")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("the features are not all finite; check the checkpoint")
    first, second = F.normalize(first, dim=1), F.normalize(second, dim=1)
    columns = torch.arange(len(second), device=second.device)
    counts = torch.zeros(3 * bins, dtype=torch.int64, device=first.device)
    for start in range(0, len(first), chunk):
        part = first[start : start + chunk]
        rows = columns[start : start + chunk, None]
        # 0 is positive, 1 is same_class, 2 is other.
        kind = torch.where(labels[rows] == labels, 1, 2).masked_fill_(rows == columns, 0)
        place = ((part @ second.T + 1) * (bins / 2)).long().clamp_(0, bins - 1)
        counts += (kind * bins + place).flatten().bincount(minlength=3 * bins)
    edges = torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
    return SimilarityHistograms(edges, *counts.view(3, bins).cpu())
