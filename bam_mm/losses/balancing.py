"""From the teacher's similarities to targets: Sinkhorn balancing, and top-k sharpening."""

from __future__ import annotations

from torch import Tensor

from bam_mm.distributed import logsumexp_rows


def balance(scores: Tensor, iterations: int) -> Tensor:
    """Balance an attention matrix so that no key receives more attention than the others.

    Pseudo-code, on ``P = exp(scores)``::

        repeat `iterations` times:
            P = P / P.sum(over the rows of all processes)   # every key receives the same attention
            P = P / P.sum(over the keys)                    # every row is a distribution

    Rows come last, so every row sums to one. Only the two potentials are updated, never P itself,
    so nothing overflows at any temperature (BAM, section 3.2; the constant to which columns are
    normalised cancels in the rows).

    Args:
        scores: (R, ..., K) similarities divided by the temperature; -inf where attention is
            forbidden. Over a process group each process holds its own rows and all keys.
            Dimensions between the first and the last are independent blocks.
        iterations: Number of column-then-row normalisations; 0 returns a plain softmax over the
            keys.

    Returns:
        (R, ..., K), non-negative; rows sum to one.
    """
    if iterations == 0:
        return scores.softmax(dim=-1)
    row_potential = scores.new_zeros((*scores.shape[:-1], 1))
    for _ in range(iterations):
        key_potential = -logsumexp_rows(scores + row_potential)
        row_potential = -(scores + key_potential).logsumexp(dim=-1, keepdim=True)
    return (scores + row_potential + key_potential).exp()


def keep_top_k(targets: Tensor, k: int) -> Tensor:
    """Sharpen targets to their k largest entries (an option of the released code).

    The target rows of an image are averaged over its target views, the k largest columns are kept,
    the others are set to zero, and the row is normalised again. All target views of the image share
    that row.

    Args:
        targets: (T, B, ..., K) balanced rows of the T target views; dimensions before the last are
            blocks of keys that are sharpened independently.
        k: Number of entries to keep, 1 <= k <= K.

    Returns:
        (T, B, ..., K), the same for each view.

    Raises:
        ValueError: If k is out of range.
    """
    if not 1 <= k <= targets.shape[-1]:
        raise ValueError(
            f"top_k={k} is out of range: there are {targets.shape[-1]} keys (global views x "
            "images of all processes); choose 1 <= top_k <= keys, or 0 to switch it off"
        )
    mean = targets.mean(dim=0)
    values, columns = mean.topk(k, dim=-1)
    sparse = mean.new_zeros(mean.shape).scatter_(-1, columns, values)
    return (sparse / sparse.sum(dim=-1, keepdim=True)).expand_as(targets)
