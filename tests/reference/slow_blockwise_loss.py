"""The BAM loss without global normalisation in plain Python loops over blocks and entries.

Scalars are float64 tensors, so the gradient of these loops follows by automatic differentiation.
"""

import math

import torch


def slow_blockwise_loss(
    student,
    teacher,
    *,
    num_views,
    num_global,
    temperature,
    target_temperature,
    sinkhorn_iters,
    mask_positives=True,
    top_k=0,
):
    """Compute the loss of one process for view-major float64 rows (rows, D)."""
    batch = len(student) // num_views
    source = [row / row.square().sum().sqrt() for row in student]
    keys = source
    if teacher is not None:
        keys = [row / row.square().sum().sqrt() for row in teacher]
    total = 0.0
    for key_view in range(num_global):
        targets = {
            view: _target(
                keys, view, key_view, batch, target_temperature, sinkhorn_iters, mask_positives
            )
            for view in range(num_global)
        }
        if top_k:
            targets = _sharpened(targets, batch, top_k)
        for target_view in range(num_global):
            for view in range(num_views):
                if view == target_view:
                    continue
                for i in range(batch):
                    scores = {
                        j: torch.dot(source[view * batch + i], keys[key_view * batch + j])
                        / temperature
                        for j in range(batch)
                        if not (mask_positives and i == j)
                    }
                    log_z = torch.stack(list(scores.values())).exp().sum().log()
                    for j, score in scores.items():
                        total = total - targets[target_view][i][j] * (score - log_z) / batch
    return total / (num_global * num_global * (num_views - 1))


def _target(keys, view, key_view, batch, temperature, iterations, mask_positives):
    """Return the balanced rows of one block, as lists of floats."""
    plan = []
    for i in range(batch):
        plan.append([])
        for j in range(batch):
            score = float(torch.dot(keys[view * batch + i], keys[key_view * batch + j]).detach())
            hidden = mask_positives and i == j
            plan[i].append(0.0 if hidden else math.exp(score / temperature))
    for _ in range(iterations):
        for j in range(batch):
            column = sum(plan[i][j] for i in range(batch))
            for i in range(batch):
                plan[i][j] /= column
        plan = [_unit_sum(row) for row in plan]
    return [_unit_sum(row) for row in plan]


def _sharpened(targets, batch, top_k):
    """Average the rows of each image over the views, and keep the k largest entries."""
    rows = []
    for i in range(batch):
        mean = [sum(t[i][j] for t in targets.values()) / len(targets) for j in range(batch)]
        least = sorted(mean, reverse=True)[top_k - 1]
        rows.append(_unit_sum([x if x >= least else 0.0 for x in mean]))
    return dict.fromkeys(targets, rows)


def _unit_sum(row):
    total = sum(row)
    return [x / total for x in row]
