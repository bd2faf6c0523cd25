"""The losses of BYOL and MoCo v3 in plain loops."""

import torch


def slow_byol_loss(predictions, targets):
    """Mean over both directions and images of 1 - cosine (arXiv 2006.07733, equation 2, a quarter).

    Args:
        predictions: Pair of (B, D) predictions of the student, one for each view.
        targets: Pair of (B, D) projections of the teacher.
    """
    total, count = 0.0, 0
    for view in range(2):
        for prediction, target in zip(predictions[view], targets[1 - view], strict=True):
            total = total + 1 - torch.dot(_unit(prediction), _unit(target.detach()))
            count += 1
    return total / count


def slow_mocov3_loss(predictions, targets, *, temperature):
    """Sum over both directions of 2 tau times the cross-entropy (arXiv 2104.02057, algorithm 1).

    Args:
        predictions: Pair of (B, D) predictions of the student, one for each view.
        targets: Pair of (B, D) projections of the teacher.
        temperature: Temperature of the softmax.
    """
    total = 0.0
    for view in range(2):
        keys = [_unit(key.detach()) for key in targets[1 - view]]
        for index, row in enumerate(predictions[view]):
            logits = torch.stack([torch.dot(_unit(row), key) / temperature for key in keys])
            exponentials = (logits - logits.max()).exp()
            total = total - (exponentials[index] / exponentials.sum()).log() / len(keys)
    return 2 * temperature * total


def _unit(row):
    return row / row.square().sum().sqrt()
