"""The square window of patches in another frame that a patch may match."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class WindowBand(NamedTuple):
    """Rows of query patches, and the rows of key patches that their windows reach.

    Both are half-open ranges ``(first, end)`` of rows of the patch grid.
    """

    rows: tuple[int, int]
    key_rows: tuple[int, int]

    def row_penalty(self, radius: int, device: torch.device | str | None = None) -> Tensor:
        """Return an additive mask of the key rows outside the window of each query row.

        Args:
            radius: Radius of the window in patches.
            device: Device of the mask.

        Returns:
            (query rows, key rows) float32 mask, 0 inside the window and -inf outside.
        """
        queries = torch.arange(*self.rows, device=device)[:, None]
        apart = (queries - torch.arange(*self.key_rows, device=device)).abs()
        penalty = torch.zeros(apart.shape, device=device)
        return penalty.masked_fill_(apart > radius, -torch.inf)


@lru_cache(maxsize=64)
def window_bands(grid: tuple[int, int], radius: int, rows: int = 8) -> tuple[WindowBand, ...]:
    """Split a grid of patches into bands of rows, each with the key rows that its windows reach.

    With a window of radius r, a patch at (row, column) matches the patches of other frames with
    ``|Δrow| <= r`` and ``|Δcolumn| <= r``. The bands of recent arguments are cached. Columns need
    no preparation, see :func:`banded_products`.

    Args:
        grid: (h, w), the size of a frame in patches.
        radius: Radius of the window in patches; 0 sets no limit.
        rows: Maximum number of rows in a band.

    Returns:
        The bands from top to bottom, of nearly equal height.

    Raises:
        ValueError: If the grid or the band is empty, or the radius is negative.
    """
    if min(grid) < 1 or rows < 1 or radius < 0:
        raise ValueError(
            f"grid={grid} in bands of {rows} rows with radius={radius}: choose a positive grid and "
            "rows, and a radius of 12 as in DINO or 0 for no limit"
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

    A batch of matrix products multiplies each column of keys with the 2r+1 query columns whose
    windows contain it. The products are ordered by key column, so the window of a query column is a
    diagonal, which is read by strides::

        out[q, y, s, z, f] = query[q, y] · keys[q + s - r, z, f]

    Args:
        query: (w + 2r, h, D) features, with r empty columns on either side.
        keys: (w, h, n, D) features of n frames.
        band: The rows of queries and keys to multiply.
        radius: Radius r of the window in patches, >= 1.

    Returns:
        (w, rows, 2r+1, key rows, n) contiguous products, -inf outside the window.
    """
    near = keys[:, slice(*band.key_rows)]
    w, key_rows, n, _ = near.shape
    query = query[:, slice(*band.rows)].contiguous()
    rows, slots = query.shape[1], 2 * radius + 1
    # (w, 2r+1, rows, D): for each key column, the query columns whose windows contain it. They
    # overlap, as a view without a copy.
    seeing = query.unfold(0, slots, 1).permute(0, 3, 1, 2)

    # Key columns outside the image are entries of -inf before and after the products.
    products = query.new_empty((w + 2 * radius, slots * rows, key_rows * n))
    products[:radius] = -torch.inf
    products[-radius:] = -torch.inf
    torch.bmm(
        seeing.flatten(1, 2), near.flatten(1, 2).transpose(1, 2), out=products[radius:-radius]
    )

    # Query column q is the (2r - s)-th of the query columns of key column q + s - r.
    column, row, _ = products.stride()
    windows = products.as_strided(
        (w, rows, slots, key_rows, n),
        (column, row, column - rows * row, n, 1),
        2 * radius * rows * row,
    )
    out = torch.empty(windows.shape, dtype=windows.dtype, device=windows.device)
    penalty = band.row_penalty(radius, query.device).to(query.dtype)
    return torch.add(windows, penalty[:, None, :, None], out=out)
