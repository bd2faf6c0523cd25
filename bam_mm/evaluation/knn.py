"""Weighted k-nearest-neighbour classification of frozen features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
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
    (Caron et al., 2021; Wu et al., 2018).

    Args:
        bank: (N, D) features; normalised here.
        bank_labels: (N,) integers in [0, num_classes).
        queries: (Q, D) features; normalised here.
        num_classes: Number of classes.
        k: Number of neighbours, 1 <= k <= N.
        temperature: Of the vote's weight.
        chunk: Queries at a time; at most chunk x N similarities exist at once.

    Returns:
        (Q, num_classes) scores: sums of weights, not normalised.

    Raises:
        ValueError: If k exceeds the bank, a label is out of range, or shapes do not agree.
    """
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1]:
        raise ValueError(
            f"bank {tuple(bank.shape)} and queries {tuple(queries.shape)} must be (N, D) and "
            "(Q, D) features of the same backbone"
        )
    if bank_labels.shape != bank.shape[:1]:
        raise ValueError(
            f"bank_labels {tuple(bank_labels.shape)} must hold one label for each of the "
            f"{bank.shape[0]} rows of the bank"
        )
    if not 1 <= k <= bank.shape[0]:
        raise ValueError(
            f"k={k} neighbours from a bank of {bank.shape[0]} rows: choose 1 <= k <= rows, or a "
            "larger bank"
        )
    low, high = int(bank_labels.min()), int(bank_labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"bank_labels run from {low} to {high}, but num_classes={num_classes} admits 0 to "
            f"{num_classes - 1}; check the data set's classes"
        )
    bank = F.normalize(bank, dim=1)
    scores = []
    for part in queries.split(chunk):
        similarity, index = (F.normalize(part, dim=1) @ bank.T).topk(k, dim=1)
        votes = (similarity / temperature).exp()
        score = votes.new_zeros((len(part), num_classes))
        scores.append(score.scatter_add_(1, bank_labels[index], votes))
    return torch.cat(scores) if scores else bank.new_zeros((0, num_classes))


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
