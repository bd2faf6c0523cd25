"""The BAM loss as a sum over named pairs of views, one image at a time, with any target views.

Every pair (target view, source view) of an image adds one number; the loss is their mean. Targets
are lists of floats; the source side consists of float64 scalars, so that autograd has its gradient.
"""

import math
from itertools import product

import torch


def slow_pairs_loss(
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
    global_normalisation=True,
    target_views="all",
):
    """Compute the loss of one process for view-major float64 rows (rows, D)."""
    batch = len(student) // num_views
    views = ["global"] * num_global + ["local"] * (num_views - num_global)
    student = [row / row.square().sum().sqrt() for row in student]
    rows = student
    if teacher is not None:
        rows = [row / row.square().sum().sqrt() for row in teacher]
    keys = list(enumerate(rows[: num_global * batch]))  # a key is (its number, its row)
    groups = [keys]
    if not global_normalisation:
        groups = [keys[h * batch : (h + 1) * batch] for h in range(num_global)]
    allowed = {
        "global": {("global", "global"), ("global", "local")},
        "all": {("global", "global"), ("global", "local"), ("local", "global")},
    }[target_views]

    terms = []
    for group in groups:
        targets = _targets(
            rows, group, batch, target_temperature, sinkhorn_iters, mask_positives,
            together=global_normalisation,
        )  # fmt: skip
        if top_k:
            serving = [t for t, kind in enumerate(views) if any(kind == a for a, _ in allowed)]
            targets = _sharpened(targets, serving, batch, top_k)
        for t, s in product(range(num_views), repeat=2):
            if t == s or (views[t], views[s]) not in allowed:
                continue
            for i in range(batch):
                source = student[s * batch + i]
                shown = {
                    k: torch.dot(source, key) / temperature
                    for k, key in group
                    if not (mask_positives and k % batch == i)
                }
                log_z = torch.stack(list(shown.values())).exp().sum().log()
                terms.append(sum(targets[t, i][k] * (log_z - x) for k, x in shown.items()))
    return sum(terms) / len(terms)


def _targets(rows, group, batch, temperature, iterations, mask_positives, *, together):
    """Return {(view, image): {key: share}}, of all rows together or of each view by itself."""
    plan = {}
    for r, row in enumerate(rows):
        plan[divmod(r, batch)] = {
            k: math.exp(float(torch.dot(row.detach(), key.detach())) / temperature)
            for k, key in group
            if not (mask_positives and k % batch == r % batch)
        }
    views = {view for view, _ in plan}
    for members in [views] if together else [{view} for view in views]:
        part = [line for (view, _), line in plan.items() if view in members]
        for _ in range(iterations):
            for k, _ in group:
                column = sum(line.get(k, 0.0) for line in part)
                for line in part:
                    if k in line:
                        line[k] /= column
            for line in part:
                _to_unit_sum(line)
        for line in part:
            _to_unit_sum(line)
    return plan


def _sharpened(targets, serving, batch, top_k):
    """Average an image's rows over the views that serve as targets; keep the largest entries."""
    sharp = {}
    for i in range(batch):
        mean = {k: sum(targets[t, i][k] for t in serving) for k in targets[serving[0], i]}
        line = dict.fromkeys(mean, 0.0)
        for k in sorted(mean, key=mean.get)[-top_k:]:
            line[k] = mean[k]
        _to_unit_sum(line)
        sharp |= {(t, i): line for t in serving}
    return sharp


def _to_unit_sum(line):
    total = sum(line.values())
    for k in line:
        line[k] /= total
