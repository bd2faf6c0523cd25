"""Which keys are positives of which rows."""

from __future__ import annotations

import torch
from torch import Tensor


def positive_mask(
    num_row_views: int,
    num_key_views: int,
    batch: int,
    *,
    total: int | None = None,
    offset: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Mark the pairs (row, key) that show the same image, in any view, the row itself included.

    Args:
        num_row_views: Views among the rows, r.
        num_key_views: Views among the keys, g.
        batch: Images of this process, B.
        total: Images of all processes, N; B if not given.
        offset: Index of this process's first image among the N.
        device: Where to make the mask.

    Returns:
        Boolean (r * B, g * N), rows and columns view-major; True where the images agree.
    """
    total = batch if total is None else total
    rows = torch.arange(batch, device=device).repeat(num_row_views) + offset
    keys = torch.arange(total, device=device).repeat(num_key_views)
    return rows[:, None] == keys[None, :]
