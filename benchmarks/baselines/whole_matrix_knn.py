"""kNN classification the straightforward way: all similarities at once, then a loop of votes."""

import torch
from torch import Tensor


def whole_matrix_knn(
    bank: Tensor, labels: Tensor, queries: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Normalise everything, multiply everything, take the k largest, let each neighbour vote.

    Args:
        bank: (N, D) features.
        labels: (N,) integers.
        queries: (Q, D) features.
        num_classes: Number of classes.
        k: Number of neighbours.
        temperature: Of the vote's weight.

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
