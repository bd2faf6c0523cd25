"""The entry of the chunked loss: keys, targets and one sweep over the images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import mean_over_processes, rank
from bam_mm.losses.chunked.arrangement import Arrangement
from bam_mm.losses.chunked.products import Keys, half_type
from bam_mm.losses.chunked.sweep import ChunkedLoss
from bam_mm.losses.chunked.targets import BalancedTargets
from bam_mm.losses.plain import gather_keys
from bam_mm.losses.settings import LossSettings, Matching, at_least_float32, check_shapes


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
    target_views: str = "global",
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
    1/G to each key view, however unlike it is, and rows that are no targets change nothing.

    ``target_views="all"`` (the paper's text: all pairs but local with local) takes the rows of the
    local views as targets too, in the loops of either form::

        for t in range(V):                                            # target views
            for v in range(V):                                        # source views
                if v != t and (t < G or v < G):                       # not local with local
                    loss += mean over images i of  -sum_j P[t, i, j] * A[v, i, j]
        loss  /= pairs                                                # G * (V - 1) + G * (V - G)

    (by G * pairs without global normalisation). The keys remain the global views', and P remains
    the same: the targets of the global views equal those of ``target_views="global"`` with a
    teacher of V * B rows. ``top_k`` alone is different, since it averages the rows of all target
    views. Without local views both are the same loss.

    Over a process group every process holds the rows of its B images; keys and balancing span all
    processes. The value is that of the whole batch on every process, and the gradients' *mean over
    the processes* (what DistributedDataParallel computes) is the gradient of the whole batch. Every
    process must hold the same number of images.

    The matrices A and P are never whole in memory: the loss visits the images chunk by chunk and
    forms its gradient on the way. Besides the features, the keys and the gradient it takes
    ``chunk x keys`` (:data:`bam_mm.losses.chunked.arrangement.BUDGETS`). It has no second
    derivative; :func:`~bam_mm.losses.plain_bam_loss` has one.

    The computation runs in float32 at least, whatever autocast is set to. Under autocast on a GPU
    the factors of the matrix products are rounded to autocast's type, with sums and results in
    float32, unless a temperature is too low for that (below .04 with bfloat16).

    Args:
        student: (V * B, D) features, view-major, not normalised.
        teacher: (G * B, D): only the global rows are balanced, a square matrix; (V * B, D): all
            rows are balanced and the global ones used, as in the released code, or all of them with
            ``target_views="all"``; or None.
        num_views: V, number of views of an image, at least 2.
        num_global: G, number of global views, 1 <= G <= V.
        temperature: Softmax temperature of the student's attention.
        target_temperature: Softmax temperature of the balanced target, usually half of
            ``temperature``.
        sinkhorn_iters: Number of Sinkhorn iterations; 0 switches balancing off (softmax targets).
        mask_positives: Whether positives are excluded.
        top_k: Number of largest entries kept in an image's target; 0 keeps all. Without global
            normalisation it counts within each key view.
        global_normalisation: Whether softmax and balancing span all key views and all rows.
        target_views: Views whose rows serve as targets, ``global`` or ``all``.

    Returns:
        Scalar tensor.

    Raises:
        ValueError: If the shapes do not fit the views, a temperature is not positive, fewer than
            two images are in the whole batch while positives are masked, ``top_k`` exceeds the
            number of keys that are not masked, ``target_views`` is unknown, or it is ``all`` and
            the teacher has the rows of the global views only.

    Example:
        >>> student, teacher = torch.randn(8 * 16, 32), torch.randn(2 * 16, 32)
        >>> bam_loss(student, teacher, num_views=8, num_global=2).shape
        torch.Size([])
    """
    settings = LossSettings(
        temperature=temperature,
        target_temperature=target_temperature,
        sinkhorn_iters=sinkhorn_iters,
        mask_positives=mask_positives,
        top_k=top_k,
        global_normalisation=global_normalisation,
        target_views=target_views,
    )
    return match_attention(
        student, teacher, num_views=num_views, num_global=num_global, settings=settings
    ).loss


def match_attention(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    num_views: int,
    num_global: int,
    settings: LossSettings | None = None,
    with_entropies: bool = False,
) -> Matching:
    """Compute the loss as :func:`bam_loss` does, and on demand the entropies of paper Fig. 3.

    Args:
        student: (V * B, D) features, view-major, not normalised.
        teacher: (G * B, D) or (V * B, D) features, or None.
        num_views: V, number of views of an image.
        num_global: G, number of global views.
        settings: Settings of the loss; None for the defaults.
        with_entropies: Whether to compute the mean entropies too (one more pass over each chunk).

    Returns:
        Loss and entropies.

    Raises:
        ValueError: For the same arguments as :func:`bam_loss`.
    """
    settings = settings or LossSettings()
    dtype = at_least_float32(student.dtype)
    coldest = min(settings.temperature, settings.target_temperature)
    half = half_type(student.device, dtype, coldest)
    with torch.autocast(student.device.type, enabled=False):
        batch, total = check_shapes(
            student, teacher, num_views=num_views, num_global=num_global, settings=settings
        )
        rows = (student if teacher is None else teacher).detach()
        arrangement = Arrangement(
            num_views=num_views,
            num_global=num_global,
            num_targets=num_views if settings.target_views == "all" else num_global,
            batch=batch,
            total=total,
            first=rank() * batch,
            # Keys of one block share a softmax: all of them, or those of one view.
            blocks=1 if settings.global_normalisation else num_global,
            masked=settings.mask_positives,
        )
        # Without a teacher the gradient flows through the keys too.
        keys = (student if teacher is None else rows)[: num_global * batch]
        keys = gather_keys(F.normalize(keys.to(dtype), dim=1), num_global)
        if not torch.is_grad_enabled():
            student = student.detach()  # so that no gradient is formed
        factors = Keys(keys.detach(), half)
        # Keys that are not trained serve as factors only: where those are in half precision, the
        # wide keys are freed.
        trained_keys = keys if keys.requires_grad else None
        del keys
        targets = BalancedTargets(
            # Rows that are no targets influence the balance only where it spans the views.
            rows if settings.global_normalisation else rows[: arrangement.num_targets * batch],
            factors,
            arrangement,
            settings,
        )
        loss, *entropies = ChunkedLoss.apply(
            student,
            trained_keys,
            factors,
            targets,
            arrangement,
            settings.temperature,
            with_entropies,
        )
        # The gradient stays this process's own; only the value becomes that of the whole batch.
        loss = loss + (mean_over_processes(loss) - loss.detach())
        if with_entropies:
            entropies = [mean_over_processes(entropy) for entropy in entropies]
        return Matching(loss, *entropies)
