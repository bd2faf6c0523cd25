"""The transfer protocol the straightforward way: scikit-learn, one fit after another from zero."""

import numpy as np
from sklearn.linear_model import LogisticRegression


def cold_sweep(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    penalties: list[float],
    tolerance: float,
    max_iter: int,
) -> tuple[list[float], float, float, int]:
    """Fit every penalty on ``train``, choose on ``val``, refit on both, score on ``test``.

    Args:
        train: (N, D) features and (N,) labels.
        val: The same.
        test: The same.
        penalties: Rising; scikit-learn's C is 1 / penalty.
        tolerance: Of its solver.
        max_iter: Of its solver.

    Returns:
        Top-1 on ``val`` of each penalty, the penalty chosen (the highest of those that tie), top-1
        on ``test`` of the refitted model, both in 0 to 1, and the sum of the fits' iterations.
    """
    scores, iterations = [], 0
    for penalty in penalties:
        model = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=max_iter)
        scores.append(model.fit(*train).score(*val))
        iterations += int(model.n_iter_[0])
    best = max(p for p, score in zip(penalties, scores, strict=True) if score == max(scores))
    both = [np.concatenate(pair) for pair in zip(train, val, strict=True)]
    model = LogisticRegression(C=1 / best, tol=tolerance, max_iter=max_iter).fit(*both)
    return scores, best, model.score(*test), iterations
