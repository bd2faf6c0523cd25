"""Which patches of another frame a patch may match: a square window, by index alone."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class WindowBand(NamedTuple):
    """Rows of query patches, and the rows of keys that their windows reach.

    Each is a half-open range ``(first, end)`` of rows of the patch grid.
    """

    rows: tuple[int, int]
    key_rows: tuple[int, int]

    def row_penalty(self, radius: int, device: torch.device | str | None = None) -> Tensor:
        """Tell the rows inside a query's window from those outside.

        Args:
            radius: Of the window, in patches.
            device: Of the result.

        Returns:
            (query rows, key rows) float32, 0 inside the window and -inf outside.
        """
        queries = torch.arange(*self.rows, device=device)[:, None]
        apart = (queries - torch.arange(*self.key_rows, device=device)).abs()
        penalty = torch.zeros(apart.shape, device=device)
        return penalty.masked_fill_(apart > radius, -torch.inf)


@lru_cache(maxsize=64)
def window_bands(grid: tuple[int, int], radius: int, rows: int = 8) -> tuple[WindowBand, ...]:
    """Cut a grid of patches into bands of rows, each with the keys that its windows reach.

    Within a window of radius r a patch at (row, column) matches the patches of other frames with
    ``|Δrow| <= r`` and ``|Δcolumn| <= r``. The result is four numbers a band, kept for the grids
    and radii last used. Columns need nothing prepared (see ``banded_products``).

    Args:
        grid: (h, w), the frame in patches.
        radius: Of the window, in patches; 0 sets no limit.
        rows: Most rows in a band.

    Returns:
        The bands from top to bottom, as even as can be.

    Raises:
        ValueError: If the grid or the band is empty, or the radius is negative.
    """
    if min(grid) < 1 or rows < 1 or radius < 0:
        raise ValueError(
            f"grid={grid} in bands of {rows} rows with radius={radius}: grid and rows must be "
            "positive, radius 12 is DINO's and 0 sets no limit"
        )
    h = grid[0]
    reach = radius or h
    count = -(-h // rows)
    edges = [i * h // count for i in range(count + 1)]
    return tuple(
        WindowBand((a, b), (max(a - reach, 0), min(b + reach, h))) for a, b in pairwise(edges)
    )


def banded_products(query: Tensor, keys: Tensor, band: WindowBand, radius: int) -> Tensor:
    """Multiply every query of a band with the keys of its window.

    One batch of matrix products, one for each column of keys: it meets the 2r+1 query columns that
    see it. That lays out the result by key column; a window of it is a diagonal, read by strides::

        out[q, y, s, z, f] = query[q, y] · keys[q + s - r, z, f]

    Args:
        query: (w + 2r, h, D) features, with r empty columns on either side.
        keys: (w, h, n, D) features of n frames.
        band: The rows to treat.
        radius: r, of the window, in patches, >= 1.

    Returns:
        (w, rows, 2r+1, key rows, n) products, contiguous, -inf outside the window.
    """
    near = keys[:, slice(*band.key_rows)]
    w, key_rows, n, _ = near.shape
    query = query[:, slice(*band.rows)].contiguous()
    rows, slots = query.shape[1], 2 * radius + 1
    # (w, 2r+1, rows, D): the query columns that see each key column; they overlap, without a copy.
    seeing = query.unfold(0, slots, 1).permute(0, 3, 1, 2)

    # Key columns beyond the image are rows of -inf before and after the products.
    products = query.new_empty((w + 2 * radius, slots * rows, key_rows * n))
    products[:radius] = -torch.inf
    products[-radius:] = -torch.inf
    torch.bmm(
        seeing.flatten(1, 2), near.flatten(1, 2).transpose(1, 2), out=products[radius:-radius]
    )

    # The query column q sees the key column q + s - r as that column's (2r - s)-th.
    column, row, _ = products.stride()
    windows = products.as_strided(
        (w, rows, slots, key_rows, n),
        (column, row, column - rows * row, n, 1),
        2 * radius * rows * row,
    )
    out = torch.empty(windows.shape, dtype=windows.dtype, device=windows.device)
    penalty = band.row_penalty(radius, query.device).to(query.dtype)
    return torch.add(windows, penalty[:, None, :, None], out=out)
