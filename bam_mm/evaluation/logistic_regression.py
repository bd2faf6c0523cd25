"""Multinomial logistic regression on frozen features, by scikit-learn's objective and solver.

scikit-learn's own fit takes the features to the CPU. Here the objective is computed by torch on the
features' device and handed to the same solver, scipy's L-BFGS, which may start anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from bam_mm.errors import InputError, listing
from bam_mm.evaluation.feature_checks import check_rows

ROWS_AT_ONCE = 1 << 17
"""Of the table of logits (rows, classes), which for ImageNet would not fit a GPU as a whole."""

LINE_SEARCH = 10
"""Evaluations along one direction at most. A search that works takes one to five; one that does not
has met the noise of the loss, and more (scikit-learn's 50) find nothing."""

SMALLEST_GAIN = {torch.float64: 64 * torch.finfo(torch.float64).eps, torch.float32: 1e-9}
"""Of the loss in one iteration, by the features' dtype: with less the solver stops.

scikit-learn has the first for both. In float32 the loss, a mean over images, is known to about
1e-8; a solver that goes on below takes twice the evaluations, to no smaller a gradient."""


@dataclass(frozen=True)
class LogisticModel:
    """A fitted classifier.

    Attributes:
        weight: (K, D) float64.
        bias: (K,) float64, not penalised.
        penalty: The penalty it was fitted with.
        iterations: Of the solver.
        converged: Whether it stopped at its tolerance or at the precision of the features' dtype,
            and not at its last iteration.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    iterations: int
    converged: bool

    def scores(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, D), in their dtype."""
        return torch.addmm(self.bias.to(features), features, self.weight.to(features).T)

    def predict(self, features: Tensor) -> Tensor:
        """The likeliest class of each row, (N,) int64."""
        return torch.cat([self.scores(rows).argmax(dim=1) for rows in features.split(ROWS_AT_ONCE)])


@torch.no_grad()
def fit_logistic_regression(
    features: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    penalty: float,
    start: LogisticModel | None = None,
    tolerance: float = 1e-5,
    max_iter: int = 1000,
) -> LogisticModel:
    """Fit one penalty.

    Minimises, over weights W (K, D) and biases b (K,)::

        total = 0
        for x, y in zip(features, labels):
            total += logsumexp(W @ x + b) - (W @ x + b)[y]
        objective = total + penalty / 2 * sum(W ** 2)

    which is scikit-learn's ``LogisticRegression(C=1 / penalty)``: a *sum* of losses, so the same
    penalty weighs less on a larger data set; biases are free. For two classes scikit-learn has a
    single row of weights; the penalty is doubled here then, which is the same model.

    Args:
        features: (N, D).
        labels: (N,) integers in [0, num_classes).
        num_classes: K.
        penalty: Above 0.
        start: Where the solver starts; zeros without.
        tolerance: It stops where no entry of the gradient of objective / N exceeds this
            (scikit-learn's ``tol``, by default 1e-4 there). At the lowest penalties of the protocol
            even 1e-6 is not reached in thousands of iterations, by either.
        max_iter: Or after so many iterations.

    Returns:
        The classifier.

    Raises:
        InputError: If a class has no image, a label is out of range, a feature is not finite, or
            the penalty is not above 0.
    """
    _check_table("train", features, labels, num_classes)
    if not 0 < penalty < float("inf"):
        raise InputError(f"penalty={penalty}: it must be above 0; the protocol's are 1e-6 to 1e5")
    features = _real(features)
    rows, width = features.shape
    strength = penalty * (2 if num_classes == 2 else 1) / rows

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = torch.from_numpy(flat).view(num_classes, width + 1).to(features.device)
        weight, bias = both[:, :-1], both[:, -1]
        loss = strength / 2 * weight.square().sum()
        gradient = torch.cat([strength * weight, torch.zeros_like(bias)[:, None]], dim=1)
        low_weight, low_bias = weight.to(features), bias.to(features)[:, None]
        for x, y in zip(features.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE), strict=True):
            # (K, n): with few classes, a softmax across rows is several times faster than along.
            logs = torch.addmm(low_bias, low_weight, x.T).log_softmax(dim=0)
            loss -= logs.gather(0, y[None]).sum(dtype=torch.float64) / rows
            error = logs.exp_()
            error.scatter_add_(0, y[None], error.new_full((1, len(y)), -1.0))
            gradient[:, :-1] += (error @ x) / rows
            gradient[:, -1] += error.sum(dim=1, dtype=torch.float64) / rows
        return float(loss), gradient.flatten().cpu().numpy()

    first = np.zeros(num_classes * (width + 1))
    if start is not None:
        first = torch.cat([start.weight, start.bias[:, None]], dim=1).flatten().cpu().numpy()
    labels = labels.long()
    options = dict(
        maxiter=max_iter, maxls=LINE_SEARCH, gtol=tolerance, ftol=SMALLEST_GAIN[features.dtype]
    )
    found = minimize(objective, first, method="L-BFGS-B", jac=True, options=options)
    both = torch.from_numpy(found.x).view(num_classes, width + 1).to(features.device)
    return LogisticModel(
        weight=both[:, :-1].clone(),
        bias=both[:, -1].clone(),
        penalty=float(penalty),
        iterations=int(found.nit),
        converged=bool(found.nit < max_iter),
    )


def _check_table(what: str, features: Tensor, labels: Tensor, num_classes: int) -> None:
    check_rows(what, features, labels, num_classes=num_classes)
    if num_classes < 2:
        raise InputError(f"logistic regression over {num_classes} class: it needs two at least")
    if what != "train":
        return
    empty = (torch.bincount(labels.long(), minlength=num_classes) == 0).nonzero().flatten()
    if len(empty):
        raise InputError(
            f"logistic regression: class {listing(empty.tolist(), 10)} of {num_classes} has no "
            "training image: add images of it, or take the class out"
        )


def _real(features: Tensor) -> Tensor:
    return features if features.dtype in (torch.float32, torch.float64) else features.float()
