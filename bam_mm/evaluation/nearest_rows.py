"""The rows of a bank that are most similar to each query, without a table of all similarities.

Blocks of the bank go by. Of a block only the similarities above a query's k-th best so far matter;
with the rows in random order these are about k / n for each query in the n-th block. What is left
is the matrix product and one look at each of its entries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

BANK_ROWS_AT_ONCE = 1 << 12
"""Of the bank, on a CPU, where the similarities of a tile then stay in its cache."""

GPU_FACTOR = 16
"""A GPU takes so many times more at once: there the start of each kernel costs."""


@torch.no_grad()
def nearest_rows(
    bank: Tensor, queries: Tensor, *, k: int, chunk: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows by cosine similarity, exactly.

    Beside the result, memory is that of two or three tiles of ``chunk x BANK_ROWS_AT_ONCE``
    similarities (on a GPU of ``GPU_FACTOR`` times as many), whatever the sizes of bank and queries.

    Args:
        bank: (N, D) features, finite; normalised here.
        queries: (Q, D) features on the same device, finite; normalised here.
        k: Number of rows wanted, 1 <= k <= N.
        chunk: Queries at a time.
        dtype: Of the computation, float32 or float64.

    Returns:
        Cosine similarities, falling, and rows of the bank, both (Q, k). Equal similarities stand in
        the order of the bank, and of those that tie for the last place the first are taken.
    """
    step = BANK_ROWS_AT_ONCE * (1 if bank.device.type == "cpu" else GPU_FACTOR)
    starts = range(0, len(queries), chunk)
    found: list[tuple[Tensor, Tensor] | None] = [None] * len(starts)
    for first in range(0, len(bank), step):
        # Each block is normalised once, hence the loop over the queries is the inner one.
        block = F.normalize(bank[first : first + step].to(dtype), dim=1)
        multiply = multiplier(block)
        for number, start in enumerate(starts):
            part = queries[start : start + chunk].to(dtype)
            found[number] = _fold(found[number], multiply(part), first, k)
    if not found:
        empty = torch.empty(0, k, dtype=dtype, device=bank.device)
        return empty, empty.long()
    values, rows = map(torch.cat, zip(*found, strict=True))
    # A query's length changes nothing in the order of its similarities.
    for part, value in zip(queries.split(chunk), values.split(chunk), strict=True):
        value /= torch.linalg.vector_norm(part.to(dtype), dim=1, keepdim=True).clamp_min(1e-12)
    return values, rows


def multiplier(block: Tensor) -> Callable[[Tensor], Tensor]:
    """The function that multiplies rows (Q, D) by those of a block (n, D): (Q, n).

    On a CPU oneDNN multiplies float32. ``torch.mm`` takes MKL, which keeps its AVX-512 for Intel's
    processors: on an AMD EPYC oneDNN is 1.7 times as fast, its copies included.
    """
    device, onednn = block.device.type, torch.backends.mkldnn.is_available()
    by_onednn = onednn and device == "cpu" and block.dtype == torch.float32
    keys = block.to_mkldnn() if by_onednn else block

    def multiply(rows: Tensor) -> Tensor:
        with torch.autocast(device, enabled=False):  # neighbours are not to hang on it
            if by_onednn:
                return F.linear(rows.to_mkldnn(), keys).to_dense()
            return torch.mm(rows, keys.T)

    return multiply


def _fold(
    found: tuple[Tensor, Tensor] | None, tile: Tensor, first: int, k: int
) -> tuple[Tensor, Tensor]:
    """Take a tile (Q, n) of similarities to the rows from ``first`` on into what was found before.

    Args:
        found: Values and rows so far, (Q, at most k), in the order of the result; None at first.
        tile: Similarities; not changed and not kept.
        first: Above every row found so far.
        k: Number wanted.

    Returns:
        Values and rows, (Q, k), or fewer columns where fewer rows went by.
    """
    values, rows = tile, torch.arange(first, first + tile.shape[1], device=tile.device)
    rows = rows.expand_as(tile)
    if found is not None:
        if found[0].shape[1] == k:
            # A later row that only equals the k-th best has no place, so "above" is enough.
            above = tile > found[0][:, -1:]
            values, rows = _compact(tile, above, first)
        values, rows = torch.cat([found[0], values], 1), torch.cat([found[1], rows], 1)
    values, places = first_largest(values, min(k, values.shape[1]))
    return values, rows.gather(1, places)


def _compact(tile: Tensor, marked: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Move the marked entries of each row of a tile to its left, in their order.

    Returns:
        Values, filled up with -inf, and their columns + ``first``; both (Q, most in one row).
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
    """``marked.nonzero(as_tuple=True)`` of a table in which few entries are marked."""
    if marked.shape[1] % 8:
        return marked.nonzero(as_tuple=True)
    # Eight at a time, as one integer; on a CPU nonzero is as slow for a byte as for eight.
    query, word = marked.view(torch.int64).nonzero(as_tuple=True)
    hit, place = marked.view(len(marked), -1, 8)[query, word].nonzero(as_tuple=True)
    return query[hit], 8 * word[hit] + place


def first_largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, falling; of equal ones the first, in the order of their columns.

    Args:
        values: (Q, n), no NaN.
        k: At most n.

    Returns:
        Values and columns, both (Q, k).
    """
    # One more than wanted shows whether there is a tie for the last place.
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
    # In the order of their columns, and then stably by value.
    top, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    return top, columns.gather(1, order)
