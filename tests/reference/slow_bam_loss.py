"""The BAM loss in plain Python loops over floats, slow and independent of the package."""

import math


def slow_bam_loss(
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
    """Compute the loss of one process. ``student`` and ``teacher`` are view-major lists of rows."""
    batch = len(student) // num_views
    source = [_unit(row) for row in student]
    target_rows = [_unit(row) for row in (student if teacher is None else teacher)]
    keys = target_rows[: num_global * batch]

    def allowed(row, key):
        return not (mask_positives and row % batch == key % batch)

    plan = [
        [
            math.exp(_dot(row, key) / target_temperature) if allowed(r, k) else 0.0
            for k, key in enumerate(keys)
        ]
        for r, row in enumerate(target_rows)
    ]
    for _ in range(sinkhorn_iters):
        for k in range(len(keys)):
            column = sum(row[k] for row in plan)
            for row in plan:
                row[k] /= column
        for row in plan:
            _normalise(row)
    if sinkhorn_iters == 0:
        for row in plan:
            _normalise(row)

    targets = [[plan[g * batch + i] for i in range(batch)] for g in range(num_global)]
    if top_k:
        for i in range(batch):
            mean = [
                sum(targets[g][i][k] for g in range(num_global)) / num_global
                for k in range(len(keys))
            ]
            kept = sorted(range(len(keys)), key=lambda k: -mean[k])[:top_k]
            sharp = [mean[k] if k in kept else 0.0 for k in range(len(keys))]
            _normalise(sharp)
            for g in range(num_global):
                targets[g][i] = sharp

    total = 0.0
    for g in range(num_global):
        over_views = 0.0
        for v in range(num_views):
            if v == g:
                continue
            over_images = 0.0
            for i in range(batch):
                row = v * batch + i
                logits = {
                    k: _dot(source[row], key) / temperature
                    for k, key in enumerate(keys)
                    if allowed(row, k)
                }
                log_z = math.log(sum(math.exp(x) for x in logits.values()))
                over_images -= sum(targets[g][i][k] * (x - log_z) for k, x in logits.items())
            over_views += over_images / batch
        total += over_views / (num_views - 1)
    return total / num_global


def _unit(row):
    norm = math.sqrt(_dot(row, row))
    return [x / norm for x in row]


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _normalise(row):
    total = sum(row)
    row[:] = [x / total for x in row]
