"""Weighted k-nearest-neighbour classification of frozen features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.evaluation.nearest_rows import nearest_rows


def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """Score classes by the votes of the k nearest rows of a bank.

    A neighbour votes for its class with weight exp(cosine / temperature), as in DINO's evaluation
    (Caron et al., 2021; Wu et al., 2018). Of rows that tie for the k-th place the first in the bank
    are taken, so the result hangs neither on the chunk nor on the device's way of sorting.

    Args:
        bank: (N, D) features; normalised here.
        bank_labels: (N,) integers in [0, num_classes).
        queries: (Q, D) features; normalised here.
        num_classes: Number of classes.
        k: Number of neighbours, 1 <= k <= N.
        temperature: Of the vote's weight.
        chunk: Queries at a time; memory is that of a few tiles of chunk x 4096 similarities (on a
            GPU 65,536), however large the bank; see :mod:`bam_mm.evaluation.nearest_rows`.

    Returns:
        (Q, num_classes) scores: sums of weights, not normalised; float64 where the features are,
        else float32.

    Raises:
        InputError: If k exceeds the bank, a label is out of range, a feature is not finite, or
            shapes do not agree.
    """
    settings = dict(num_classes=num_classes, temperature=temperature, chunk=chunk)
    return knn_predict_many(bank, bank_labels, queries, ks=[k], **settings)[k]


@torch.no_grad()
def knn_predict_many(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    num_classes: int,
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    chunk: int = 1024,
) -> dict[int, Tensor]:
    """Score classes for several numbers of neighbours from one pass of similarities.

    Args:
        bank: As for :func:`knn_predict`, and so are the others.
        bank_labels: (N,).
        queries: (Q, D).
        num_classes: Number of classes.
        ks: Numbers of neighbours, different ones.
        temperature: Of the vote's weight.
        chunk: Queries at a time.

    Returns:
        For each k the scores (Q, num_classes) that :func:`knn_predict` gives, to the bit.

    Raises:
        InputError: As :func:`knn_predict`.
    """
    _check(bank, bank_labels, queries, num_classes, ks, temperature, chunk)
    dtype = torch.float64 if bank.dtype == torch.float64 else torch.float32
    similarity, rows = nearest_rows(bank, queries, k=max(ks), chunk=chunk, dtype=dtype)
    votes = similarity.div_(temperature).exp_()
    labels = bank_labels[rows].long()
    scores = {}
    for k in ks:
        scores[k] = votes.new_zeros((len(queries), num_classes))
        scores[k].scatter_add_(1, labels[:, :k], votes[:, :k])
    return scores


def _check(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    num_classes: int,
    ks: Sequence[int],
    temperature: float,
    chunk: int,
) -> None:
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1]:
        raise InputError(
            f"bank {tuple(bank.shape)} and queries {tuple(queries.shape)} must be (N, D) and "
            "(Q, D) features of the same backbone"
        )
    check_rows("bank", bank, bank_labels, num_classes=num_classes)
    check_rows("queries", queries)
    if not ks or len(set(ks)) != len(ks):
        raise InputError(f"ks={list(ks)}: give one number of neighbours, or several different ones")
    for k in ks:
        if not 1 <= k <= len(bank):
            raise InputError(
                f"k={k} neighbours from a bank of {len(bank)} rows: choose 1 <= k <= rows, or a "
                "larger bank"
            )
    if chunk < 1:
        raise InputError(f"chunk={chunk}: it is the number of queries at a time, at least 1")
    largest = torch.finfo(torch.float64 if bank.dtype == torch.float64 else torch.float32).max
    if not temperature > 0 or 1 / temperature + math.log(max(ks)) > math.log(largest):
        raise InputError(
            f"temperature={temperature}: it must be above 0, and large enough that "
            "exp(1 / temperature) is finite; DINO's is 0.07"
        )


def balanced_subset(labels: Tensor, fraction: float, *, seed: int = 0) -> Tensor:
    """Choose the same fraction of every class, at least one image each.

    Args:
        labels: (N,) integers.
        fraction: In (0, 1].
        seed: The same seed chooses the same rows on every process.

    Returns:
        Sorted indices of the chosen rows, int64.

    Raises:
        ValueError: If the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"bank fraction {fraction}: it must be in (0, 1]; 0.1 is usual")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique():
        rows = (labels == label).nonzero().flatten()
        count = max(1, round(fraction * len(rows)))
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
    return torch.cat(chosen).sort().values
