"""Top-k accuracy where there are fewer than k classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmengine.logging import print_log

from bam_mm.errors import listing


def fit_topk(parts: Iterable[Any], num_classes: int) -> None:
    """Leave out the top-k accuracies that need more classes than there are, and log them once.

    mmpretrain raises an exception at the end of the evaluation instead. Top-1 accuracy always
    remains.

    Args:
        parts: Metrics and heads; those other than mmpretrain's ``Accuracy`` and ``ClsHead`` are not
            changed.
        num_classes: Number of classes.
    """
    from mmpretrain.evaluation import Accuracy
    from mmpretrain.models import ClsHead

    left_out: set[int] = set()
    for part in parts:
        if not isinstance(part, Accuracy | ClsHead):
            continue
        asked = (part.topk,) if isinstance(part.topk, int) else tuple(part.topk)
        possible = tuple(k for k in asked if k <= num_classes)
        if possible != asked:
            part.topk = possible or (1,)
            left_out.update(set(asked) - set(possible))
    if left_out:
        names = listing(f"top-{k}" for k in sorted(left_out))
        print_log(f"{num_classes} classes: {names} accuracy is left out", logger="current")
