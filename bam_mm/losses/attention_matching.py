"""The BAM loss: match a view's self-attention to the balanced attention of another view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, mean_over_processes, rank
from bam_mm.losses.arguments import check_arguments
from bam_mm.losses.balancing import balance
from bam_mm.losses.masks import positive_mask
from bam_mm.losses.targets import keep_top_k


@dataclass(frozen=True)
class Matching:
    """What one evaluation of the loss gives.

    Attributes:
        loss: Scalar, with gradient.
        attention_entropy: Scalar in nats, mean over rows, or None where it was not asked for.
        target_entropy: Scalar in nats, mean over the global views' rows, or None likewise.
    """

    loss: Tensor
    attention_entropy: Tensor | None = None
    target_entropy: Tensor | None = None


def bam_loss(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    num_views: int,
    num_global: int,
    temperature: float = 0.1,
    target_temperature: float = 0.05,
    sinkhorn_iters: int = 3,
    mask_positives: bool = True,
    top_k: int = 0,
    global_normalisation: bool = True,
) -> Tensor:
    r"""Balanced Self-Attention Matching (BAM, ECCV 2024, section 3).

    Pseudo-code with V views (G of them global), B images a process, N images in all::

        keys   = normalise(teacher rows of the global views)          # (G*N, D), all processes
        A      = log_softmax(student @ keys.T / temperature)          # (V*B, G*N)
        P      = balance(teacher @ keys.T / target_temperature)       # (R*B, G*N), no gradient
        loss   = 0
        for g in range(G):                                            # target views
            for v in range(V):                                        # source views
                if v != g:
                    loss += mean over images i of  -sum_j P[g, i, j] * A[v, i, j]
        loss  /= G * (V - 1)

    with positives (the same image in any view, itself included) excluded from both the softmax and
    the balancing. Without a teacher the student's own rows take its place: the gradient flows
    through the keys too, and all V views' rows are balanced.

    ``global_normalisation=False`` (an ablation of Table 1) treats every pair (row view, key view)
    as a matrix of its own, (B, N)::

        loss   = 0
        for h in range(G):                                            # key views
            K = keys of view h                                        # (N, D)
            for g in range(G):                                        # target views
                P = balance(teacher of view g @ K.T / target_temperature)
                for v in range(V):                                    # source views
                    if v != g:
                        A     = log_softmax(student of view v @ K.T / temperature)
                        loss += mean over images i of  -sum_j P[i, j] * A[i, j]
        loss  /= G * G * (V - 1)

    so that neither attention nor balance flows from one view to another: a row attends with weight
    1/G to each key view, however unlike it is, and further rows of the teacher change nothing.

    Over a process group every process holds the rows of its B images; keys and balancing span all
    processes. The value is that of the whole batch on every process, and the gradients' *mean over
    the processes* (what DistributedDataParallel forms) is the gradient of the whole batch. Every
    process must hold the same number of images.

    The computation runs in float32 at least, whatever autocast says.

    Args:
        student: (V * B, D) features, view-major, not normalised.
        teacher: (G * B, D): only the global rows are balanced, a square matrix; (V * B, D): all
            rows are balanced and the global ones used, as the released code does; or None.
        num_views: V, at least 2.
        num_global: G, 1 <= G <= V.
        temperature: Of the source's softmax.
        target_temperature: Of the balanced target, usually half of ``temperature``.
        sinkhorn_iters: Iterations of the balancing; 0 switches it off (softmax targets).
        mask_positives: Whether positives are excluded.
        top_k: Keep the k largest columns of an image's target; 0 keeps all. Without global
            normalisation, of each key view's.
        global_normalisation: Whether softmax and balancing span all key views and all rows.

    Returns:
        Scalar tensor.

    Raises:
        ValueError: If the shapes do not fit the views, a temperature is not positive, fewer than
            two images are in the whole batch while positives are masked, or ``top_k`` exceeds the
            number of keys that are not masked.

    Example:
        >>> student, teacher = torch.randn(8 * 16, 32), torch.randn(2 * 16, 32)
        >>> bam_loss(student, teacher, num_views=8, num_global=2).shape
        torch.Size([])
    """
    return match_attention(
        student,
        teacher,
        num_views=num_views,
        num_global=num_global,
        temperature=temperature,
        target_temperature=target_temperature,
        sinkhorn_iters=sinkhorn_iters,
        mask_positives=mask_positives,
        top_k=top_k,
        global_normalisation=global_normalisation,
    ).loss


def match_attention(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    num_views: int,
    num_global: int,
    temperature: float = 0.1,
    target_temperature: float = 0.05,
    sinkhorn_iters: int = 3,
    mask_positives: bool = True,
    top_k: int = 0,
    global_normalisation: bool = True,
    with_entropies: bool = False,
) -> Matching:
    """The loss as :func:`bam_loss`, and on demand the entropies of paper Fig. 3.

    Args:
        student: As in :func:`bam_loss`.
        teacher: As in :func:`bam_loss`.
        num_views: As in :func:`bam_loss`.
        num_global: As in :func:`bam_loss`.
        temperature: As in :func:`bam_loss`.
        target_temperature: As in :func:`bam_loss`.
        sinkhorn_iters: As in :func:`bam_loss`.
        mask_positives: As in :func:`bam_loss`.
        top_k: As in :func:`bam_loss`.
        global_normalisation: As in :func:`bam_loss`.
        with_entropies: Also compute the mean entropies (one more pass over the matrices).

    Returns:
        A :class:`Matching`.
    """
    with torch.autocast(student.device.type, enabled=False):
        student = _at_least_float32(student)
        teacher = student if teacher is None else _at_least_float32(teacher).detach()
        batch, total = check_arguments(
            student,
            teacher,
            num_views=num_views,
            num_global=num_global,
            temperature=temperature,
            target_temperature=target_temperature,
            mask_positives=mask_positives,
            top_k=top_k,
            key_views=num_global if global_normalisation else 1,
        )
        student = F.normalize(student, dim=1)
        teacher = F.normalize(teacher, dim=1)
        keys = _gather_keys(teacher[: num_global * batch], num_global)
        masked = None
        if mask_positives:
            masked = positive_mask(
                num_views,
                num_global,
                batch,
                total=total,
                offset=rank() * batch,
                device=student.device,
            )

        # Keys of one block share a softmax: all of them, or one view's.
        blocks = 1 if global_normalisation else num_global
        with torch.no_grad():
            # Rows of other views matter to the balance only where it spans the views.
            rows = teacher if global_normalisation else teacher[: num_global * batch]
            scores = rows @ keys.T / target_temperature
            if masked is not None:
                # Rows are view-major, so fewer views are just a shorter mask.
                scores.masked_fill_(masked[: scores.shape[0]], -torch.inf)
            if global_normalisation:
                targets = balance(scores, sinkhorn_iters)[: num_global * batch]
                targets = targets.view(num_global, batch, 1, -1)
            else:
                scores = scores.view(num_global, batch, num_global, -1).transpose(0, 1)
                targets = balance(scores, sinkhorn_iters).transpose(0, 1)
            if top_k:
                targets = keep_top_k(targets, top_k)

        logits = (student @ keys.T / temperature).view(num_views, batch, blocks, -1)
        attended = logits
        if masked is not None:
            attended = logits.masked_fill(masked.view(logits.shape), -torch.inf)
        loss = _cross_entropy(targets, logits, attended.logsumexp(dim=-1))
        # The gradient stays this process's own; only the value becomes the whole batch's.
        loss = loss + (mean_over_processes(loss) - loss.detach())
        if not with_entropies:
            return Matching(loss)
        return Matching(loss, *_entropies(attended.detach(), targets))


def _cross_entropy(targets: Tensor, logits: Tensor, log_partition: Tensor) -> Tensor:
    """Mean over target views g and source views v != g of -sum P_g * log A_v.

    Targets sum to one and are zero at masked keys, so -sum P * (logits - log_partition) needs
    neither the log-softmax as a matrix nor a special case for -inf.

    Args:
        targets: (G, B, H, K), H blocks of K keys.
        logits: (V, B, H, K), not masked.
        log_partition: (V, B, H), of the masked logits.
    """
    num_global, batch, blocks, _ = targets.shape
    num_views = logits.shape[0]
    everything = targets.sum(dim=0)
    loss = logits.new_zeros(())
    for view in range(num_views):
        if view >= num_global:
            target, weight = everything, num_global
        else:
            others = [targets[g] for g in range(num_global) if g != view]
            if not others:
                continue
            target, weight = sum(others[1:], others[0]), len(others)
        loss = loss + weight * log_partition[view].sum() - (target * logits[view]).sum()
    return loss / (num_global * (num_views - 1) * batch * blocks)


@torch.no_grad()
def _entropies(attended: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    attention = attended.softmax(dim=-1)
    return tuple(
        mean_over_processes(-torch.special.xlogy(p, p).sum(dim=-1).mean())
        for p in (attention, targets)
    )


def _gather_keys(rows: Tensor, num_global: int) -> Tensor:
    """(G * B, D) of each process -> (G * N, D), view-major over the images of all processes."""
    gathered = gather_equal(rows.unflatten(0, (num_global, -1)))  # (P, G, B, D)
    return gathered.transpose(0, 1).flatten(0, 2)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
