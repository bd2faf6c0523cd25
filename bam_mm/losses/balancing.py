"""Balanced attention: Sinkhorn's iteration in the log domain."""

from __future__ import annotations

from torch import Tensor

from bam_mm.distributed import logsumexp_rows


def balance(scores: Tensor, iterations: int) -> Tensor:
    """Balance an attention matrix so that no key draws more attention than the others.

    Pseudo-code, on ``P = exp(scores)``::

        repeat `iterations` times:
            P = P / P.sum(over the rows of all processes)   # every key gets the same attention
            P = P / P.sum(over the keys)                    # every row is a distribution

    The rows come last, so that every row sums to one. Only the two potentials are updated here,
    never P itself, so nothing overflows at any temperature. (BAM, section 3.2; the constant to
    which columns are normalised cancels in the rows.)

    Dimensions between the first and the last are independent blocks, each balanced by itself.

    Args:
        scores: (R, ..., K) scores already divided by the temperature; -inf where attention is
            forbidden. Over a process group each process holds its own rows and all keys.
        iterations: Number of column-then-row normalisations. 0 switches balancing off: a plain
            softmax over the keys.

    Returns:
        (R, ..., K), non-negative, rows sum to one.
    """
    if iterations == 0:
        return scores.softmax(dim=-1)
    row_potential = scores.new_zeros((*scores.shape[:-1], 1))
    for _ in range(iterations):
        key_potential = -logsumexp_rows(scores + row_potential)
        row_potential = -(scores + key_potential).logsumexp(dim=-1, keepdim=True)
    return (scores + row_potential + key_potential).exp()
