"""ReLIC's loss in plain loops (Mitrovic et al., ICLR 2021, arXiv 2010.07922)."""


def slow_relic_loss(student, teacher, *, temperature, invariance_weight):
    """Compute the contrastive and the invariance term of all images.

    Args:
        student: List of V tensors (B, D), the global views first.
        teacher: List of G tensors (B, D) of the global views, without gradient.
        temperature: Temperature of the softmax over the images of the batch.
        invariance_weight: Weight of the divergence between the two orders of a pair of views.

    Returns:
        Scalar, with autograd's gradient for the student's rows.
    """
    batch = len(student[0])
    rows = [[_unit(row) for row in view] for view in student]
    keys = [[_unit(row.detach()) for row in view] for view in teacher]
    # log_p[a, b][i][j]: row i of the student's view a finds key j of the teacher's view b.
    log_p = {
        (a, b): [
            _log_softmax([_dot(rows[a][i], keys[b][j]) / temperature for j in range(batch)])
            for i in range(batch)
        ]
        for a in range(len(student))
        for b in range(len(teacher))
        if a != b
    }
    contrast = [-log_p[pair][i][i] for pair in log_p for i in range(batch)]
    divergence = []
    for a, b in log_p:
        if (b, a) not in log_p:
            continue
        for i in range(batch):
            forth, back = log_p[a, b][i], log_p[b, a][i]
            divergence.append(sum(f.exp() * (f - g) for f, g in zip(forth, back, strict=True)))
    loss = sum(contrast) / len(contrast)
    if divergence:
        loss = loss + invariance_weight * sum(divergence) / len(divergence)
    return loss


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _unit(row):
    return row / _dot(row, row).sqrt()


def _log_softmax(logits):
    largest = max(x.item() for x in logits)
    log_z = largest + sum((x - largest).exp() for x in logits).log()
    return [x - log_z for x in logits]
