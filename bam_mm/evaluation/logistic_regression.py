"""Multinomial logistic regression on frozen features, with scikit-learn's objective and solver.

scikit-learn itself fits on the CPU. Here torch computes the objective on the device of the
features. The solver is the same, the L-BFGS of SciPy, and it may start from any weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from bam_mm.errors import InputError, listing
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.precision import exact_products

ROWS_AT_ONCE = 1 << 17
"""Number of rows of logits computed at once. All logits of ImageNet would not fit on a GPU."""

LINE_SEARCH = 10
"""Maximum number of evaluations per line search. A successful search takes one to five; one that
takes more has reached the noise of the loss, where even the 50 of scikit-learn find nothing."""

SMALLEST_GAIN = {torch.float64: 64 * torch.finfo(torch.float64).eps, torch.float32: 1e-9}
"""Decrease of the loss per iteration below which the solver stops, by dtype of the features.

scikit-learn uses the value for float64 in both cases. In float32, the loss (a mean over images) is
accurate to about 1e-8: going below this takes twice as many evaluations without reaching a smaller
gradient."""


@dataclass(frozen=True)
class LogisticModel:
    """A fitted classifier of K classes.

    Attributes:
        weight: (K, D) float64 weights.
        bias: (K,) float64 biases, which are not penalised.
        penalty: L2 penalty of the fit.
        iterations: Number of iterations of the solver.
        converged: Whether the solver stopped at its tolerance or at the precision of the features,
            and not at the maximum number of iterations.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    iterations: int
    converged: bool

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits (N, K) of features (N, D), in the dtype of the features."""
        with exact_products(features.device):
            return torch.addmm(self.bias.to(features), features, self.weight.to(features).T)

    def predict(self, features: Tensor) -> Tensor:
        """Return the most likely class of each row, (N,) int64."""
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
    """Fit a classifier with one penalty.

    The fit minimises, over weights W (K, D) and biases b (K,)::

        total = 0
        for x, y in zip(features, labels):
            total += logsumexp(W @ x + b) - (W @ x + b)[y]
        objective = total + penalty / 2 * sum(W ** 2)

    This is scikit-learn's ``LogisticRegression(C=1 / penalty)``. The loss is a *sum* over images,
    so the same penalty has less effect on a larger data set. Biases are not penalised. For two
    classes, scikit-learn fits a single row of weights; the penalty is doubled here in this case,
    which results in the same model.

    Args:
        features: (N, D) features of the training images.
        labels: (N,) integer labels in [0, num_classes).
        num_classes: Number of classes K.
        penalty: L2 penalty of the weights, above 0.
        start: Classifier from whose weights the solver starts; None starts from zeros.
        tolerance: Largest absolute entry of the gradient of objective / N at which the solver stops
            (``tol`` of scikit-learn, where the default is 1e-4). At the lowest penalties of the
            protocol, neither implementation reaches even 1e-6 within thousands of iterations.
        max_iter: Maximum number of iterations.

    Returns:
        The fitted classifier.

    Raises:
        InputError: If a class has no image, a label is out of range, a feature is not finite, or
            the penalty is not above 0.
    """
    _check_table("train", features, labels, num_classes)
    if not 0 < penalty < float("inf"):
        raise InputError(f"penalty={penalty}: it must be above 0; the protocol uses 1e-6 to 1e5")
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
            # (K, n), because with few classes a softmax over the first axis is several times faster
            # than one over the last.
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
    # The fit must not depend on the caller's autocast and TF32.
    with exact_products(features.device):
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
        raise InputError(f"logistic regression over {num_classes} class: it needs at least two")
    if what != "train":
        return
    empty = (torch.bincount(labels.long(), minlength=num_classes) == 0).nonzero().flatten()
    if len(empty):
        raise InputError(
            f"logistic regression: class {listing(empty.tolist(), 10)} of {num_classes} has no "
            "training image: add images of it, or remove the class"
        )


def _real(features: Tensor) -> Tensor:
    return features if features.dtype in (torch.float32, torch.float64) else features.float()
