"""What may be done to balanced targets before they are matched."""

from __future__ import annotations

from torch import Tensor


def keep_top_k(targets: Tensor, k: int) -> Tensor:
    """Sharpen targets to their k strongest keys (an option of the released code).

    An image's target rows are averaged over its views, the k largest columns are kept, the rest is
    zero, and the row is normalised again; all views of the image then share that row.

    Args:
        targets: (G, B, ..., K) balanced rows of the G global views; dimensions before the last are
            blocks of keys that are sharpened by themselves.
        k: Number of keys to keep, 1 <= k <= K.

    Returns:
        (G, B, ..., K), the same for each view.

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
