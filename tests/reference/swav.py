"""SwAV's codes and loss in plain loops (Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

import math


def slow_codes(scores, *, epsilon, iterations):
    """Return the codes of a batch: B lists of K numbers that sum to 1.

    Args:
        scores: B lists of K similarities with the prototypes.
        epsilon: Entropy regularisation.
        iterations: Number of normalisations of the prototypes and then of the images.
    """
    plan = [[math.exp(x.item() / epsilon) for x in row] for row in scores]
    batch, prototypes = len(plan), len(plan[0])
    for _ in range(iterations):
        for k in range(prototypes):
            total = sum(row[k] for row in plan)
            for row in plan:
                row[k] /= total * prototypes
        for row in plan:
            total = sum(row)
            row[:] = [x / (total * batch) for x in row]
    return [[x * batch for x in row] for row in plan]


def slow_swav_loss(features, prototypes, *, targets, temperature, epsilon, iterations):
    """Compute the loss of all images.

    Args:
        features: List of V tensors (B, D) of unit length, one for each view.
        prototypes: (K, D) prototypes of unit length.
        targets: Numbers of the views whose codes the other views predict.
        temperature: Temperature of the prediction.
        epsilon: Entropy regularisation of the codes.
        iterations: Number of Sinkhorn-Knopp iterations.

    Returns:
        Scalar, with autograd's gradient for features and prototypes.
    """
    scores = [[[_dot(row, c) for c in prototypes] for row in view] for view in features]
    total = 0.0
    for target in targets:
        codes = slow_codes(scores[target], epsilon=epsilon, iterations=iterations)
        for v, view in enumerate(scores):
            if v == target:
                continue
            for code, row in zip(codes, view, strict=True):
                logits = [x / temperature for x in row]
                largest = max(x.item() for x in logits)
                log_z = largest + sum((x - largest).exp() for x in logits).log()
                total = total - sum(q * (x - log_z) for q, x in zip(code, logits, strict=True))
    return total / (len(targets) * (len(features) - 1) * len(features[0]))


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))
