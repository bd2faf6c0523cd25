"""The BAM loss: match a view's self-attention to the balanced attention of another view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, mean_over_processes, rank
from bam_mm.losses.arguments import check_arguments
from bam_mm.losses.balanced_targets import BalancedTargets
from bam_mm.losses.chunked_loss import ChunkedLoss
from bam_mm.losses.products import Keys, half_type
from bam_mm.losses.rows import Arrangement


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

    The matrices A and P are never whole in memory: the loss goes through the images chunk by chunk
    and forms its gradient on the way, so beside the features, the keys and the gradient it takes
    ``chunk x keys`` (:data:`bam_mm.losses.rows.BUDGETS`). It has no second derivative.

    The computation runs in float32 at least, whatever autocast says; under autocast on a GPU the
    factors of the matrix products are rounded to autocast's type, with sums and results in float32,
    unless a temperature is too low for that (below .04 with bfloat16).

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
        with_entropies: Also compute the mean entropies (one more pass over each chunk).

    Returns:
        A :class:`Matching`.
    """
    half = half_type(
        student.device, _at_least_float32(student.dtype), min(temperature, target_temperature)
    )
    with torch.autocast(student.device.type, enabled=False):
        rows = (student if teacher is None else teacher).detach()
        batch, total = check_arguments(
            student,
            rows,
            num_views=num_views,
            num_global=num_global,
            temperature=temperature,
            target_temperature=target_temperature,
            mask_positives=mask_positives,
            top_k=top_k,
            key_views=num_global if global_normalisation else 1,
        )
        arrangement = Arrangement(
            num_views=num_views,
            num_global=num_global,
            batch=batch,
            total=total,
            first=rank() * batch,
            # Keys of one block share a softmax: all of them, or one view's.
            blocks=1 if global_normalisation else num_global,
            masked=mask_positives,
        )
        # Without a teacher the gradient flows through the keys too.
        keys = (student if teacher is None else rows)[: num_global * batch]
        keys = keys.to(_at_least_float32(student.dtype))
        keys = _gather_keys(F.normalize(keys, dim=1), num_global)
        if not torch.is_grad_enabled():
            student = student.detach()  # so that no gradient is formed
        factors = Keys(keys.detach(), half)
        # Of keys that are not trained only the factors are needed: where those are in half, the
        # wide keys make room.
        trained_keys = keys if keys.requires_grad else None
        del keys
        targets = BalancedTargets(
            # Rows of other views matter to the balance only where it spans the views.
            rows if global_normalisation else rows[: num_global * batch],
            factors,
            arrangement,
            temperature=target_temperature,
            iterations=sinkhorn_iters,
            top_k=top_k,
        )
        loss, *entropies = ChunkedLoss.apply(
            student, trained_keys, factors, targets, arrangement, temperature, with_entropies
        )
        # The gradient stays this process's own; only the value becomes the whole batch's.
        loss = loss + (mean_over_processes(loss) - loss.detach())
        if with_entropies:
            entropies = [mean_over_processes(entropy) for entropy in entropies]
        return Matching(loss, *entropies)


def _gather_keys(rows: Tensor, num_global: int) -> Tensor:
    """(G * B, D) of each process -> (G * N, D), view-major over the images of all processes."""
    gathered = gather_equal(rows.unflatten(0, (num_global, -1)))  # (P, G, B, D)
    return gathered.transpose(0, 1).flatten(0, 2)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
