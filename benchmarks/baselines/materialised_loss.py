"""Baselines of the BAM loss: whole matrices in memory and autograd, in a single process.

``materialised_loss`` balances in the log domain. ``released_way`` follows the description of the
released code: the teacher sees all views, all its rows are balanced in the linear domain, and the
loss is a double loop over views. Neither tries to save memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def materialised_loss(
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
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    """Compute the differentiable loss of global targets; arguments as ``bam_mm.losses.bam_loss``.

    Returns:
        The loss; with ``with_entropies`` also the mean entropies of the attention and the targets.
    """
    batch = len(student) // num_views
    student = F.normalize(student.to(_wide(student)), dim=1)
    rows = student if teacher is None else F.normalize(teacher.to(_wide(teacher)), dim=1).detach()
    keys = rows[: num_global * batch]
    if not global_normalisation:
        rows = keys
    blocks = 1 if global_normalisation else num_global

    def scores_of(x: Tensor, cold: float) -> Tensor:
        scores = (x @ keys.T).to(x.dtype) / cold
        return scores.view(len(x) // batch, batch, blocks, -1)

    def mask_like(scores: Tensor) -> Tensor:
        return _positives(len(scores), num_global, batch, student.device).view(scores.shape)

    with torch.no_grad():
        scores = scores_of(rows, target_temperature)
        if mask_positives:
            scores.masked_fill_(mask_like(scores), -torch.inf)
        over = (0, 1) if global_normalisation else (1,)
        targets = _balanced(scores, sinkhorn_iters, over)[:num_global]
        if top_k:
            targets = _strongest(targets, top_k)
    logits = scores_of(student, temperature)
    attended = logits
    if mask_positives:
        attended = logits.masked_fill(mask_like(logits), -torch.inf)
    log_partition = attended.logsumexp(dim=-1)
    loss = 0.0
    everything = targets.sum(dim=0)
    for view in range(num_views):
        if view >= num_global:
            target, weight = everything, num_global
        else:
            others = [targets[g] for g in range(num_global) if g != view]
            if not others:
                continue
            target, weight = sum(others[1:], others[0]), len(others)
        loss = loss + weight * log_partition[view].sum() - (target * logits[view]).sum()
    loss = loss / (num_global * (num_views - 1) * batch * blocks)
    if not with_entropies:
        return loss
    return loss, *(
        -torch.special.xlogy(p, p).sum(dim=-1).mean()
        for p in (attended.detach().softmax(dim=-1), targets)
    )


def released_way(
    student: Tensor,
    teacher: Tensor,
    *,
    num_views: int,
    num_global: int,
    temperature: float = 0.1,
    target_temperature: float = 0.05,
    sinkhorn_iters: int = 3,
) -> Tensor:
    """Compute the differentiable loss from the teacher's rows of all views, (V * B, D)."""
    batch = len(student) // num_views
    student = F.normalize(student.to(_wide(student)), dim=1)
    mask = _positives(num_views, num_global, batch, student.device)
    with torch.no_grad():
        teacher = F.normalize(teacher.to(_wide(teacher)), dim=1)
        keys = teacher[: num_global * batch]
        scores = (teacher @ keys.T).to(teacher.dtype) / target_temperature
        plan = scores.masked_fill(mask, -torch.inf).exp()
        for _ in range(sinkhorn_iters):
            plan = plan / plan.sum(dim=0, keepdim=True)
            plan = plan / plan.sum(dim=1, keepdim=True)
        targets = plan[: num_global * batch].chunk(num_global)
    logits = (student @ keys.T).to(student.dtype) / temperature
    # A finite number instead of -inf, so that its product with a target of zero is zero.
    attention = logits.masked_fill(mask, -torch.finfo(logits.dtype).max).log_softmax(dim=1)
    total, pairs = 0.0, 0
    for g, target in enumerate(targets):
        for v, log_attention in enumerate(attention.chunk(num_views)):
            if v != g:
                total = total - (target * log_attention).sum(dim=1).mean()
                pairs += 1
    return total / pairs


def _positives(row_views: int, key_views: int, batch: int, device: torch.device) -> Tensor:
    rows = torch.arange(batch, device=device).repeat(row_views)
    keys = torch.arange(batch, device=device).repeat(key_views)
    return rows[:, None] == keys[None, :]


def _balanced(scores: Tensor, iterations: int, over: tuple[int, ...]) -> Tensor:
    """Normalise columns (sums ``over`` these dimensions), then rows, in the log domain."""
    if iterations == 0:
        return scores.softmax(dim=-1)
    u = scores.new_zeros((*scores.shape[:-1], 1))
    for _ in range(iterations):
        v = -(scores + u).logsumexp(dim=over, keepdim=True)
        u = -(scores + v).logsumexp(dim=-1, keepdim=True)
    return (scores + u + v).exp()


def _strongest(targets: Tensor, k: int) -> Tensor:
    mean = targets.mean(dim=0)
    least = mean.topk(k, dim=-1).values[..., -1:]
    sharp = mean.where(mean >= least, mean.new_zeros(()))
    return (sharp / sharp.sum(dim=-1, keepdim=True)).expand_as(targets)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
