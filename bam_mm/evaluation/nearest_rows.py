"""The rows of a bank that are most similar to each query, without a table of all similarities.

The bank is processed in blocks. In each block, only similarities above the k-th best so far of a
query matter. With the rows in random order, these are about k / n per query in the n-th block. The
remaining cost is the matrix product and one comparison for each of its entries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.precision import exact_products

BANK_ROWS_AT_ONCE = 1 << 12
"""Number of rows in a block of the bank on a CPU, chosen so that a tile stays in its cache."""

GPU_FACTOR = 16
"""Factor by which blocks are larger on a GPU, where launching a kernel is expensive."""


@torch.no_grad()
def nearest_rows(
    bank: Tensor, queries: Tensor, *, k: int, chunk: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows by cosine similarity. The result is exact.

    In addition to the result, the memory is that of two or three tiles of similarities, whatever
    the sizes of the bank and the queries. A tile has ``chunk x BANK_ROWS_AT_ONCE`` entries, and
    ``GPU_FACTOR`` times as many on a GPU.

    Args:
        bank: (N, D) finite features; normalised here.
        queries: (Q, D) finite features on the same device; normalised here.
        k: Number of rows to find, 1 <= k <= N.
        chunk: Number of queries in a tile.
        dtype: Data type of the computation, float32 or float64.

    Returns:
        Cosine similarities in descending order and indices of the rows of the bank, both (Q, k).
        Equal similarities are in the order of the bank. If rows tie for the last place, the first
        ones are taken.
    """
    values, rows = nearest_products(bank, queries, k=k, chunk=chunk, dtype=dtype)
    return divide_by_norms(values, queries, chunk=chunk), rows


@torch.no_grad()
def nearest_products(
    bank: Tensor, queries: Tensor, *, k: int, chunk: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows, with the products of the queries and the normalised rows.

    The norm of a query does not change the order of its similarities. Without the division, whose
    rounding can make different products equal, lists of several banks can be merged exactly.

    Args:
        bank: Same as in :func:`nearest_rows`.
        queries: Same as in :func:`nearest_rows`; not normalised.
        k: Same as in :func:`nearest_rows`; 0 is allowed.
        chunk: Same as in :func:`nearest_rows`.
        dtype: Same as in :func:`nearest_rows`.

    Returns:
        Products and rows, both (Q, k), in the order of :func:`nearest_rows`.
    """
    step = BANK_ROWS_AT_ONCE * (1 if bank.device.type == "cpu" else GPU_FACTOR)
    starts = range(0, len(queries), chunk)
    found: list[tuple[Tensor, Tensor] | None] = [None] * len(starts)
    for first in range(0, len(bank) if k else 0, step):
        # The loop over the queries is the inner one, so that each block is normalised only once.
        block = F.normalize(bank[first : first + step].to(dtype), dim=1)
        multiply = multiplier(block)
        for number, start in enumerate(starts):
            part = queries[start : start + chunk].to(dtype)
            found[number] = _fold(found[number], multiply(part), first, k)
    if not starts or not k:
        empty = torch.empty(len(queries), k, dtype=dtype, device=bank.device)
        return empty, empty.long()
    values, rows = map(torch.cat, zip(*found, strict=True))
    return values, rows


def divide_by_norms(values: Tensor, queries: Tensor, *, chunk: int) -> Tensor:
    """Divide products in place by the norms of the queries, which makes them cosines.

    Args:
        values: (Q, k) products of :func:`nearest_products`.
        queries: (Q, D) features.
        chunk: Number of queries at a time.

    Returns:
        ``values``.
    """
    if len(values):
        for part, value in zip(queries.split(chunk), values.split(chunk), strict=True):
            norms = torch.linalg.vector_norm(part.to(values.dtype), dim=1, keepdim=True)
            value /= norms.clamp_min(1e-12)
    return values


def multiplier(block: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that multiplies rows (Q, D) with a block (n, D), resulting in (Q, n).

    In float32 on a CPU, the product uses oneDNN. ``torch.mm`` uses MKL, which enables AVX-512 on
    Intel processors only: on an AMD EPYC, oneDNN is 1.7 times as fast, including its copies.
    """
    device, onednn = block.device.type, torch.backends.mkldnn.is_available()
    by_onednn = onednn and device == "cpu" and block.dtype == torch.float32
    keys = block.to_mkldnn() if by_onednn else block

    def multiply(rows: Tensor) -> Tensor:
        # The neighbours must not depend on the caller's autocast and TF32.
        with exact_products(block.device):
            if by_onednn:
                return F.linear(rows.to_mkldnn(), keys).to_dense()
            return torch.mm(rows, keys.T)

    return multiply


def _fold(
    found: tuple[Tensor, Tensor] | None, tile: Tensor, first: int, k: int
) -> tuple[Tensor, Tensor]:
    """Merge the similarities to a block of the bank into the nearest rows found so far.

    Args:
        found: Values and rows found so far, (Q, at most k), in the order of the result; None for
            the first block.
        tile: (Q, n) similarities to the block; neither changed nor kept.
        first: Index of the first row of the block in the bank, above every row found so far.
        k: Number of rows to find.

    Returns:
        Values and rows, (Q, k), or fewer columns if the blocks so far have fewer than k rows.
    """
    values, rows = tile, torch.arange(first, first + tile.shape[1], device=tile.device)
    rows = rows.expand_as(tile)
    if found is not None:
        if found[0].shape[1] == k:
            # A later row that equals the k-th best loses the tie, so ">" is sufficient.
            above = tile > found[0][:, -1:]
            values, rows = _compact(tile, above, first)
        values, rows = torch.cat([found[0], values], 1), torch.cat([found[1], rows], 1)
    values, places = first_largest(values, min(k, values.shape[1]))
    return values, rows.gather(1, places)


def _compact(tile: Tensor, marked: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Move the marked entries of each row of a tile to the left, keeping their order.

    Returns:
        Values, padded with -inf, and their columns + ``first``. Both have shape (Q, m), where m is
        the largest number of marked entries in a row.
    """
    query, column = _places(marked)
    counts = torch.bincount(query, minlength=len(tile))
    place = torch.arange(len(query), device=tile.device) - (counts.cumsum(0) - counts)[query]
    width = int(counts.max())
    values = tile.new_full((len(tile), width), -torch.inf)
    rows = query.new_zeros((len(tile), width))
    values[query, place] = tile[query, column]
    rows[query, place] = column + first
    return values, rows


def _places(marked: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ``marked.nonzero(as_tuple=True)`` of a table in which few entries are marked."""
    if marked.shape[1] % 8:
        query, column = marked.nonzero(as_tuple=True)
        return query, column
    # View eight booleans as one integer: on a CPU, nonzero is as slow for one byte as for eight.
    query, word = marked.view(torch.int64).nonzero(as_tuple=True)
    hit, place = marked.view(len(marked), -1, 8)[query, word].nonzero(as_tuple=True)
    return query[hit], 8 * word[hit] + place


def first_largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest values of each row. Of equal values, those in earlier columns come first.

    Args:
        values: (Q, n) values without NaN.
        k: Number of values to find, at most n.

    Returns:
        Values in descending order and their columns, both (Q, k).
    """
    # The value after the k-th shows whether there is a tie for the last place.
    top, columns = values.topk(min(k + 1, values.shape[1]), dim=1)
    if top.shape[1] > k:
        tied = (top[:, k - 1] == top[:, k]).nonzero().flatten()
        top, columns = top[:, :k].contiguous(), columns[:, :k].contiguous()
        if len(tied):
            candidates, last = values[tied], top[tied, -1:]
            above, level = candidates > last, candidates == last
            chosen = above | (level & (level.cumsum(1) <= k - above.sum(1, keepdim=True)))
            columns[tied] = chosen.nonzero()[:, 1].view(-1, k)
            top[tied] = candidates[chosen].view(-1, k)
    columns, order = columns.sort(dim=1)
    # The columns are sorted now, so a stable sort by value keeps ties in their order.
    top, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    return top, columns.gather(1, order)
