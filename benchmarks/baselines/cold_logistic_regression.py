"""Baseline of the transfer protocol: scikit-learn, where each fit starts from zero."""

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
    """Fit every penalty on ``train``, choose one on ``val``, refit on both and score on ``test``.

    Args:
        train: (N, D) features and (N,) labels of the training images.
        val: Features and labels of the validation images.
        test: Features and labels of the test images.
        penalties: Penalties in increasing order; C of scikit-learn is 1 / penalty.
        tolerance: Tolerance of the solver.
        max_iter: Maximum number of iterations of the solver.

    Returns:
        The top-1 accuracy on ``val`` of each penalty, the chosen penalty (the highest of those that
        tie), the top-1 accuracy of the refitted model on ``test``, and the total number of
        iterations of the sweep. Accuracies are between 0 and 1.
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
