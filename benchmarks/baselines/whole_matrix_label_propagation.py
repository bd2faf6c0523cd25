"""Label propagation the straightforward way: the whole affinity, and a mask of its size."""

import torch
import torch.nn.functional as F
from torch import Tensor


def window_mask_by_loops(grid: tuple[int, int], radius: int) -> Tensor:
    """Mark, patch by patch, which patches lie in the square window of which.

    Args:
        grid: (h, w), the frame in patches.
        radius: Of the window, in patches.

    Returns:
        (h*w, h*w) float32, 1 inside the window.
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
    """Take exp of the full affinity, mask it, keep the top k over the first axis, average.

    Args:
        target: (h*w, D) features.
        context: (n, h*w, D) features.
        labels: (n, C, h, w) label distributions.
        mask: (h*w, h*w) as ``window_mask_by_loops`` makes it.
        topk: Number of nearest patches.
        temperature: Of the affinity.

    Returns:
        (C, h, w) label distribution of the target.
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
