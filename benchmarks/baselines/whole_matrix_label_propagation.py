"""Baseline of label propagation: the whole affinity matrix and a mask of the same size."""

import torch
import torch.nn.functional as F
from torch import Tensor


def window_mask_by_loops(grid: tuple[int, int], radius: int) -> Tensor:
    """Mark for each patch, in loops, which patches lie in its square window.

    Args:
        grid: (h, w), the size of the frame in patches.
        radius: Half the side of the window, in patches.

    Returns:
        (h*w, h*w) float32 mask, 1 inside the window.
    """
    h, w = grid
    mask = torch.zeros(h, w, h, w)
    for row in range(h):
        for column in range(w):
            for key_row in range(max(row - radius, 0), min(row + radius + 1, h)):
                for key_column in range(max(column - radius, 0), min(column + radius + 1, w)):
                    mask[row, column, key_row, key_column] = 1
    return mask.reshape(h * w, h * w)


def dense_propagate_labels(
    target: Tensor, context: Tensor, labels: Tensor, mask: Tensor, topk: int, temperature: float
) -> Tensor:
    """Average the labels of the top-k entries of the masked full affinity matrix.

    Args:
        target: (h*w, D) features of the target frame.
        context: (n, h*w, D) features of the context frames.
        labels: (n, C, h, w) label distributions of the context frames.
        mask: (h*w, h*w) mask from ``window_mask_by_loops``.
        topk: Number of nearest patches.
        temperature: Temperature of the affinity.

    Returns:
        (C, h, w) label distribution of the target frame.
    """
    n, c, h, w = labels.shape
    target, context = F.normalize(target, dim=-1), F.normalize(context, dim=-1)
    affinity = torch.exp(context @ target.T / temperature)  # (n, keys, queries)
    affinity *= mask.T
    affinity = affinity.reshape(n * h * w, h * w)
    values, _ = affinity.topk(topk, dim=0)
    affinity[affinity < values[-1]] = 0
    affinity /= affinity.sum(0, keepdim=True)
    return (labels.transpose(0, 1).reshape(c, -1) @ affinity).reshape(c, h, w)
