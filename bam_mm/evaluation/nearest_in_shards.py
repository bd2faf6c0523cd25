"""The nearest rows of a bank whose rows are distributed over the processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, rank, world_size
from bam_mm.evaluation.nearest_rows import divide_by_norms, first_largest, nearest_products


@torch.no_grad()
def nearest_in_shards(
    shard: Tensor,
    rows: Tensor,
    queries: Tensor,
    *,
    k: int,
    chunk: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows by cosine similarity in a bank that no process holds completely.

    Every process finds the k nearest rows of its shard for all queries. The lists are then merged
    by descending similarity and, if similarities are equal, by the order of the bank, as in
    :func:`~bam_mm.evaluation.nearest_rows.nearest_rows` on the whole bank. The lists of ``chunk``
    queries are sent at a time.

    Args:
        shard: (n, D) finite features, the rows of the bank that this process holds; n may differ
            between processes and be 0.
        rows: (n,) ascending indices of these rows in the bank. Each row of the bank is in exactly
            one shard.
        queries: (Q, D) finite features, the same on every process.
        k: Number of rows to find, at least 1 and at most the number of rows of the whole bank.
        chunk: Number of queries in a tile and in a message.
        dtype: Data type of the computation, float32 or float64.

    Returns:
        Cosine similarities and indices of the rows of the bank, both (q, k), for every P-th of the
        queries, beginning with the one whose index is the rank of this process.
    """
    values, places = nearest_products(
        shard, queries, k=min(k, len(shard)), chunk=chunk, dtype=dtype
    )
    places = rows[places]
    if world_size() > 1 and len(queries):
        values, places = _merge(values, places, k=k, chunk=chunk)
    return divide_by_norms(values, queries[rank() :: world_size()], chunk=chunk), places


def _merge(values: Tensor, places: Tensor, *, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Merge (Q, at most k) lists of all processes into (q, k) lists of this process's queries."""
    missing = (0, k - values.shape[1])
    # A short list ends with values below every similarity; there are k others.
    values = F.pad(values, missing, value=-torch.inf)
    places = F.pad(places, missing, value=torch.iinfo(places.dtype).max)
    # Chunks are a multiple of the number of processes, so that they have the same first query.
    step = -(-chunk // world_size()) * world_size()
    merged: list[tuple[Tensor, Tensor]] = []
    for value, place in zip(values.split(step), places.split(step), strict=True):
        both = (gather_equal(t)[:, rank() :: world_size()] for t in (value, place))
        value, place = (t.transpose(0, 1).flatten(1) for t in both)
        # first_largest prefers earlier columns, so the columns are in the order of the bank.
        place, order = place.sort(dim=1)
        value, columns = first_largest(value.gather(1, order), k)
        merged.append((value, place.gather(1, columns)))
    found = [torch.cat(parts) for parts in zip(*merged, strict=True)]
    return found[0], found[1]
