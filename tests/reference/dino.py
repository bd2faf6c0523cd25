"""DINO's loss and centre in plain loops, from the paper's algorithm 1 (arXiv 2104.14294)."""

import math

import torch


def slow_dino_loss(student, teacher, centre, *, temperature, target_temperature):
    """Compute the loss of all images, with autograd's gradient for the student's rows.

    Args:
        student: List of V tensors (B, K), one for each view, the global views first.
        teacher: List of G tensors (B, K), one for each global view.
        centre: (K,) centre before this batch.
        temperature: Temperature of the student's softmax.
        target_temperature: Temperature of the teacher's softmax.

    Returns:
        Scalar: the mean over images and over pairs of a teacher's and another student's view.
    """
    terms = []
    for g in range(len(teacher)):
        for v in range(len(student)):
            if v == g:
                continue
            for target_row, row in zip(teacher[g], student[v], strict=True):
                target = softmax(
                    [
                        (t.item() - c.item()) / target_temperature
                        for t, c in zip(target_row, centre, strict=True)
                    ]
                )
                logits = [x / temperature for x in row]
                largest = max(x.item() for x in logits)
                log_z = largest + sum((x - largest).exp() for x in logits).log()
                terms.append(-sum(p * (x - log_z) for p, x in zip(target, logits, strict=True)))
    return sum(terms) / len(terms)


def slow_gradient(student, teacher, centre, *, temperature, target_temperature):
    """Return the gradient of the loss, derived by hand: (softmax - target) / temperature.

    Returns:
        Lists of V x B x K numbers.
    """
    batch, views = len(student[0]), len(student)
    pairs = sum(v != g for g in range(len(teacher)) for v in range(views))
    gradient = []
    for v in range(views):
        rows = []
        for i in range(batch):
            predicted = softmax([x.item() / temperature for x in student[v][i]])
            row = [0.0] * len(predicted)
            for g in range(len(teacher)):
                if g == v:
                    continue
                target = softmax(
                    [
                        (t.item() - c.item()) / target_temperature
                        for t, c in zip(teacher[g][i], centre, strict=True)
                    ]
                )
                for k, (p, q) in enumerate(zip(predicted, target, strict=True)):
                    row[k] += (p - q) / temperature / (pairs * batch)
            rows.append(row)
        gradient.append(rows)
    return gradient


def slow_centre(centre, teacher, momentum):
    """Return the centre after a batch: the moving average of the mean of all teacher's rows."""
    rows = [row for view in teacher for row in view]
    after = []
    for k in range(len(centre)):
        mean = sum(row[k].item() for row in rows) / len(rows)
        after.append(momentum * centre[k].item() + (1 - momentum) * mean)
    return torch.tensor(after, dtype=torch.float64)


def slow_target_temperature(epoch, *, warmup, final, warmup_epochs):
    """Return the teacher's temperature of an epoch: linear from ``warmup`` to ``final``."""
    if epoch >= warmup_epochs - 1:
        return warmup if warmup_epochs == 1 and epoch == 0 else final
    return warmup + (final - warmup) * epoch / (warmup_epochs - 1)


def softmax(logits):
    """Return the softmax of a list of numbers."""
    largest = max(logits)
    weights = [math.exp(x - largest) for x in logits]
    return [w / sum(weights) for w in weights]
