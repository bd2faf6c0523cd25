"""Weighted k-nearest-neighbour (kNN) classification of frozen features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.evaluation.feature_checks import check_labels, check_rows
from bam_mm.evaluation.nearest_in_shards import nearest_in_shards
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

    Each neighbour votes for its class with weight exp(cosine / temperature), as in the evaluation
    of DINO (Caron et al., 2021; Wu et al., 2018). Rows that tie for the k-th place are taken in the
    order of the bank, so the result depends neither on ``chunk`` nor on how the device sorts.

    Args:
        bank: (N, D) features of the labelled images; normalised here.
        bank_labels: (N,) integer labels in [0, num_classes).
        queries: (Q, D) features of the images to classify; normalised here.
        num_classes: Number of classes.
        k: Number of neighbours, 1 <= k <= N.
        temperature: Temperature of the weights of the votes.
        chunk: Number of queries per step. Memory is that of a few tiles of chunk x 4096
            similarities (chunk x 65,536 on a GPU), however large the bank; see
            :mod:`bam_mm.evaluation.nearest_rows`.

    Returns:
        (Q, num_classes) scores, sums of weights that are not normalised; float64 if the features
        are float64, otherwise float32.

    Raises:
        InputError: If k exceeds the size of the bank, a label or a setting is out of range, a
            feature is not finite, or shapes do not agree.
    """
    scores = knn_predict_many(
        bank,
        bank_labels,
        queries,
        num_classes=num_classes,
        ks=[k],
        temperature=temperature,
        chunk=chunk,
    )
    return scores[k]


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
    """Score classes for several numbers of neighbours, computing the similarities once.

    Args:
        bank: (N, D) features of the labelled images; normalised here.
        bank_labels: (N,) integer labels in [0, num_classes).
        queries: (Q, D) features of the images to classify; normalised here.
        num_classes: Number of classes.
        ks: Numbers of neighbours, all different, 1 <= k <= N.
        temperature: Temperature of the weights of the votes.
        chunk: Number of queries per step, see :func:`knn_predict`.

    Returns:
        The (Q, num_classes) scores for each k, bit for bit those of :func:`knn_predict`.

    Raises:
        InputError: If a k exceeds the size of the bank, a label or a setting is out of range, a
            feature is not finite, or shapes do not agree.
    """
    _check(bank, bank_labels, queries, num_classes, ks, temperature, chunk)
    similarity, rows = nearest_rows(bank, queries, k=max(ks), chunk=chunk, dtype=_dtype(bank))
    return _votes(similarity, bank_labels[rows], num_classes, ks, temperature)


@torch.no_grad()
def knn_predict_shards(
    shard: Tensor,
    rows: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    *,
    num_classes: int,
    ks: Sequence[int] = (10, 20, 100, 200),
    temperature: float = 0.07,
    chunk: int = 1024,
) -> dict[int, Tensor]:
    """Score classes with a bank whose rows are distributed over the processes.

    The neighbours are those of :func:`knn_predict_many` on the whole bank, also where rows tie. On
    a single process the scores are equal bit for bit. Every process must call this function.

    Args:
        shard: (n, D) features, the rows of the bank that this process holds; normalised here. n may
            differ between processes and be 0.
        rows: (n,) ascending indices of these rows in the bank.
        bank_labels: (N,) integer labels of the whole bank in [0, num_classes).
        queries: (Q, D) features of all images to classify, the same on every process; normalised
            here.
        num_classes: Number of classes.
        ks: Numbers of neighbours, all different, 1 <= k <= N.
        temperature: Temperature of the weights of the votes.
        chunk: Number of queries per step, see :func:`knn_predict`.

    Returns:
        The (q, num_classes) scores for each k, for every P-th of the queries on P processes,
        beginning with the one whose index is the rank of this process.

    Raises:
        InputError: Same as in :func:`knn_predict_many`.
    """
    _check(shard, bank_labels, queries, num_classes, ks, temperature, chunk, rows)
    similarity, places = nearest_in_shards(
        shard, rows, queries, k=max(ks), chunk=chunk, dtype=_dtype(shard)
    )
    return _votes(similarity, bank_labels[places], num_classes, ks, temperature)


def _dtype(bank: Tensor) -> torch.dtype:
    return torch.float64 if bank.dtype == torch.float64 else torch.float32


def _votes(
    similarity: Tensor, labels: Tensor, num_classes: int, ks: Sequence[int], temperature: float
) -> dict[int, Tensor]:
    """Sum the votes of neighbours with (Q, k) similarities, which are overwritten, and labels."""
    votes = similarity.div_(temperature).exp_()
    labels = labels.long()
    scores = {}
    for k in ks:
        scores[k] = votes.new_zeros((len(votes), num_classes))
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
    rows: Tensor | None = None,
) -> None:
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1]:
        raise InputError(
            f"bank {tuple(bank.shape)} and queries {tuple(queries.shape)} must be (N, D) and "
            "(Q, D) features of the same backbone"
        )
    check_rows("bank", bank)
    check_labels("bank", bank_labels, len(bank) if rows is None else None, num_classes=num_classes)
    if rows is not None and rows.shape != bank.shape[:1]:
        raise InputError(
            f"rows {tuple(rows.shape)} must hold the index in the bank of each of the {len(bank)} "
            "rows of this process"
        )
    check_rows("queries", queries)
    if not ks or len(set(ks)) != len(ks):
        raise InputError(f"ks={list(ks)}: set one number of neighbours, or several different ones")
    for k in ks:
        if not 1 <= k <= len(bank_labels):
            raise InputError(
                f"k={k} neighbours from a bank of {len(bank_labels)} rows: choose 1 <= k <= rows, "
                "or use a larger bank"
            )
    if chunk < 1:
        raise InputError(f"chunk={chunk}: the number of queries per step must be at least 1")
    largest = torch.finfo(_dtype(bank)).max
    if not temperature > 0 or 1 / temperature + math.log(max(ks)) > math.log(largest):
        raise InputError(
            f"temperature={temperature}: it must be above 0, and large enough that "
            "exp(1 / temperature) is finite; DINO uses 0.07"
        )


def balanced_subset(labels: Tensor, fraction: float, *, seed: int = 0) -> Tensor:
    """Choose the same fraction of every class, with at least one image of each.

    Args:
        labels: (N,) integer labels.
        fraction: Fraction of each class to choose, in (0, 1].
        seed: Random seed. The same seed chooses the same rows on every process.

    Returns:
        Sorted int64 indices of the chosen rows.

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
