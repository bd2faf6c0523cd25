"""Contrastive losses over the images of all processes, in at least float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, rank


def log_probabilities(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Compute the log-softmax of cosine similarities with the keys of all processes.

    Args:
        queries: (B, D) features of this process.
        keys: (B, D) features of this process; their gradient reaches every process.
        temperature: Softmax temperature.

    Returns:
        (B, P * B) logarithms of probabilities on P processes. The key of image i of this process
        has the column of :func:`own_columns`.
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys, dim=1)
    return (queries @ gather_equal(keys).flatten(0, 1).T / temperature).log_softmax(dim=1)


def own_columns(features: Tensor) -> Tensor:
    """Return the columns of this process's images among those of all processes.

    Args:
        features: (B, D) features of this process.
    """
    count = len(features)
    return torch.arange(count, device=features.device) + rank() * count


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Compute the normalised temperature-scaled cross-entropy of SimCLR (section 2.1).

    For each of the 2 B rows of this process, the loss is the cross-entropy of its partner among
    the 2 P B rows of all processes but the row itself. Averaged over processes, it is that of the
    whole batch, and so is its gradient. lightly's ``NTXentLoss`` is the same number, but selects
    rows by a mask, for which a GPU has to be waited for in every step.

    Args:
        first: (B, D) features.
        second: (B, D) features of the same images.
        temperature: Softmax temperature.

    Returns:
        Scalar loss.
    """
    views = [F.normalize(rows, dim=1) for rows in (first, second)]
    keys = [gather_equal(rows).flatten(0, 1) for rows in views]
    columns = own_columns(first)
    itself = F.one_hot(columns, num_classes=len(keys[0])).bool()
    losses = []
    for own, other in ((0, 1), (1, 0)):
        same = (views[own] @ keys[own].T / temperature).masked_fill(itself, -torch.inf)
        logits = torch.cat([views[own] @ keys[other].T / temperature, same], dim=1)
        losses.append(F.cross_entropy(logits, columns))
    return torch.stack(losses).mean()
