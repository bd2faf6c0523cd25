"""The BAM loss as the paper defines it: whole matrices and ordinary autograd (docs/loss.md).

An image has V views, G of them global; n images are in this process and N in all. Matrices have
the shape (views, n, H, K): K keys share a softmax. That is all G * N keys (H = 1), or without
global normalisation the N keys of one view (H = G). Start here to try a variant of the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, mean_over_processes, rank
from bam_mm.losses.balancing import balance, keep_top_k
from bam_mm.losses.settings import LossSettings, Matching, at_least_float32, check_shapes


def plain_bam_loss(
    student: Tensor, teacher: Tensor | None = None, *, num_views: int, num_global: int, **settings
) -> Tensor:
    """Compute the loss; same arguments and value as :func:`~bam_mm.losses.bam_loss`."""
    s = LossSettings(**settings)
    return plain_matching(
        student, teacher, num_views=num_views, num_global=num_global, settings=s
    ).loss


def plain_matching(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    num_views: int,
    num_global: int,
    settings: LossSettings,
    with_entropies: bool = False,
) -> Matching:
    """Compute loss and entropies; arguments as for :func:`~bam_mm.losses.match_attention`."""
    s, G = settings, num_global
    n, N = check_shapes(student, teacher, num_views=num_views, num_global=G, settings=s)
    with torch.autocast(student.device.type, enabled=False):
        z = F.normalize(student.to(at_least_float32(student.dtype)), dim=1)  # (V*n, D)
        t = z if teacher is None else F.normalize(teacher.detach().to(z.dtype), dim=1)
        keys = gather_keys(t[: G * n], G)  # (G*N, D)
        shape = (-1, n, 1 if s.global_normalisation else G, G * N if s.global_normalisation else N)
        excluded = mask(n, N, G, z.device).view(shape) if s.mask_positives else None
        log_A = attention((z @ keys.T / s.temperature).view(shape), excluded)
        with torch.no_grad():
            B = target((t @ keys.T / s.target_temperature).view(shape), excluded, G, s)
        loss = match(log_A, B, G)
        # The gradient stays this process's own; only the value becomes that of the whole batch.
        loss = loss + (mean_over_processes(loss) - loss.detach())
        if not with_entropies:
            return Matching(loss)
        A = log_A.detach().exp()  # excluded entries are exp(0), times log_A = 0
        entropies = -(A * log_A.detach()).sum(-1).mean(), -torch.special.xlogy(B, B).sum(-1).mean()
        return Matching(loss, *map(mean_over_processes, entropies))


def gather_keys(rows: Tensor, num_global: int) -> Tensor:
    """(G * n, D) rows of each process -> (G * N, D), view-major over all images, with gradient."""
    gathered = gather_equal(rows.unflatten(0, (num_global, -1)))  # (P, G, n, D)
    return gathered.transpose(0, 1).flatten(0, 2)


def mask(n: int, N: int, G: int, device: torch.device) -> Tensor:
    """(n, G * N), true where a key shows the image of the row: the positives."""
    own = rank() * n + torch.arange(n, device=device)
    return (own[:, None] == torch.arange(N, device=device)).repeat(1, G)


def attention(scores: Tensor, excluded: Tensor | None) -> Tensor:
    """Log A: log-softmax over the keys of each row, 0 where a key is excluded."""
    if excluded is None:
        return scores.log_softmax(dim=-1)
    return scores.masked_fill(excluded, -torch.inf).log_softmax(dim=-1).masked_fill(excluded, 0.0)


def target(scores: Tensor, excluded: Tensor | None, G: int, s: LossSettings) -> Tensor:
    """B: balanced attention of the target views, sharpened to its largest entries if asked."""
    T = len(scores) if s.target_views == "all" else G
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    if s.global_normalisation:  # the rows of all views are one matrix
        B = balance(scores.flatten(0, 1), s.sinkhorn_iters).view_as(scores)[:T]
    else:  # a matrix for each pair (row view, key view)
        B = balance(scores[:T].transpose(0, 1), s.sinkhorn_iters).transpose(0, 1)
    return keep_top_k(B, s.top_k) if s.top_k else B


def match(log_A: Tensor, B: Tensor, G: int | None = None) -> Tensor:
    """Mean cross-entropy -sum_j B_t log A_v over all pairs of different views (t, v).

    At least one view of a pair is among the first G, the global views; None stands for len(B).
    """
    G, T, V = G or len(B), len(B), len(log_A)
    pairs = [(t, v) for t in range(T) for v in range(V) if v != t and min(t, v) < G]
    return torch.stack([-(B[t] * log_A[v]).sum(dim=-1).mean() for t, v in pairs]).mean()
