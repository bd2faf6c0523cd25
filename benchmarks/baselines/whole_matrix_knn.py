"""Baseline of kNN classification: all similarities at once, then a loop over the votes."""

import torch
from torch import Tensor


def whole_matrix_knn(
    bank: Tensor, labels: Tensor, queries: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Compute the whole similarity matrix, select the k largest per query and sum their votes.

    Args:
        bank: (N, D) features of the bank.
        labels: (N,) integer labels of the bank.
        queries: (Q, D) features of the queries.
        num_classes: Number of classes.
        k: Number of neighbours.
        temperature: Temperature of the weight of a vote.

    Returns:
        (Q, num_classes) scores.
    """
    bank = bank / bank.norm(dim=1, keepdim=True)
    queries = queries / queries.norm(dim=1, keepdim=True)
    similarity = queries @ bank.T  # (Q, N)
    values, rows = similarity.topk(k, dim=1)
    every = torch.arange(len(queries))
    scores = torch.zeros(len(queries), num_classes)
    for n in range(k):
        scores[every, labels[rows[:, n]]] += torch.exp(values[:, n] / temperature)
    return scores
