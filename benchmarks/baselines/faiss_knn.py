"""Baseline of kNN classification: the flat index of faiss, then the votes."""

import faiss
import torch
import torch.nn.functional as F
from torch import Tensor


def faiss_knn(
    bank: Tensor, labels: Tensor, queries: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Search the k nearest rows exactly with faiss, on as many threads as torch, and sum the votes.

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
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(F.normalize(bank).numpy())
    similarity, rows = map(torch.from_numpy, index.search(F.normalize(queries).numpy(), k))
    scores = torch.zeros(len(queries), num_classes)
    return scores.scatter_add_(1, labels[rows], (similarity / temperature).exp())
