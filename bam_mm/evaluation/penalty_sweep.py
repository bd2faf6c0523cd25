"""The transfer protocol: logistic regression with the penalty chosen on validation images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.evaluation.accuracy import accuracy_of
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.evaluation.logistic_regression import LogisticModel, fit_logistic_regression

PENALTIES: tuple[float, ...] = tuple(10.0 ** (-6 + 11 * i / 44) for i in range(45))
"""The 45 penalties of the protocol from 1e-6 to 1e5, evenly spaced on a logarithmic scale."""

SCALINGS = ("none", "standard", "l2")

Table = tuple[Tensor, Tensor]
"""Features (N, D) and labels (N,)."""


@dataclass(frozen=True)
class PenaltySweep:
    """The result of a sweep over penalties.

    Attributes:
        penalties: Penalties in ascending order.
        val_scores: Validation score for each penalty, in [0, 1], of a fit on the training images
            only.
        iterations: Number of solver iterations for each penalty.
        converged: Whether the fit converged, for each penalty.
        model: Classifier refitted on the training and validation images with the best penalty. If
            several penalties are best, the largest of them is used.
        val_score: Best validation score, in [0, 1].
        test_score: Test score of ``model``, in [0, 1].
        predictions: (N,) classes that ``model`` predicts for the test images.
    """

    penalties: tuple[float, ...]
    val_scores: tuple[float, ...]
    iterations: tuple[int, ...]
    converged: tuple[bool, ...]
    model: LogisticModel
    val_score: float
    test_score: float
    predictions: Tensor

    @property
    def penalty(self) -> float:
        """The selected penalty."""
        return self.model.penalty

    @property
    def at_end(self) -> bool:
        """Whether the lowest or highest penalty is selected, so a better one may lie outside."""
        return len(self.penalties) > 1 and self.penalty in (self.penalties[0], self.penalties[-1])

    def warnings(self) -> list[str]:
        """Return reasons to doubt the score, one sentence each."""
        messages = []
        if self.at_end:
            end = "lowest" if self.penalty == self.penalties[0] else "highest"
            messages.append(
                f"the selected penalty, {self.penalty:.3g}, is the {end} of the range "
                f"{self.penalties[0]:.3g} to {self.penalties[-1]:.3g}, and the best one may lie "
                "outside: scale the features, or widen the range"
            )
        chosen = self.penalties.index(self.penalty)
        if not self.converged[chosen] or not self.model.converged:
            messages.append(
                f"the fit with the selected penalty, {self.penalty:.3g}, had not converged after "
                f"{max(self.iterations[chosen], self.model.iterations)} iterations: raise max_iter"
            )
        return messages


def logistic_regression_sweep(
    train: Table,
    val: Table,
    test: Table,
    *,
    num_classes: int,
    metric: str = "top1",
    penalties: Sequence[float] = PENALTIES,
    scaling: str = "none",
    tolerance: float = 1e-5,
    max_iter: int = 1000,
    on_fit: Callable[[LogisticModel, float], None] = lambda model, score: None,
) -> PenaltySweep:
    """Select the penalty on the validation images, refit with it, and score on the test images.

    A classifier is fitted on the training images for each penalty, from the highest penalty to the
    lowest, starting from weights extrapolated from the two fits before. The final classifier is
    fitted on the training and validation images together. The test images are used once, to score
    the final classifier.

    Args:
        train: Features and labels of the training images.
        val: Features and labels of the validation images.
        test: Features and labels of the test images.
        num_classes: Number of classes.
        metric: ``top1`` or ``mean_per_class``, both for the selection and for the score.
        penalties: L2 penalties to try, all different; C = 1 / penalty in scikit-learn. See
            :func:`~bam_mm.evaluation.fit_logistic_regression`.
        scaling: Scaling of the features. ``none`` is that of the protocol, ``standard`` scales each
            feature to zero mean and unit variance over the images of the fit, and ``l2`` scales
            each image's features to unit length.
        tolerance: Tolerance of the solver, see
            :func:`~bam_mm.evaluation.fit_logistic_regression`.
        max_iter: Maximum number of iterations of the solver.
        on_fit: Called after each penalty, with the classifier and its validation score.

    Returns:
        The penalties with their validation scores, and the final classifier with its test score.

    Raises:
        InputError: If a table is invalid (see
            :func:`~bam_mm.evaluation.fit_logistic_regression`), or an option is unknown or out of
            range.
    """
    order = sorted(set(map(float, penalties)), reverse=True)
    if not order or len(order) != len(penalties):
        raise InputError(f"penalties={list(penalties)}: set one, or several different ones")
    if scaling not in SCALINGS:
        raise InputError(f"scaling={scaling!r}: choose one of {', '.join(SCALINGS)}")
    for what, (features, labels) in (("val", val), ("test", test)):
        check_rows(what, features, labels, num_classes=num_classes)
        # Raises now, and not after an hour of fits, if the metric cannot be computed.
        accuracy_of(metric, labels, labels, num_classes=num_classes)
        if features.shape[1] != train[0].shape[1]:
            raise InputError(
                f"train has {train[0].shape[1]} features per image, {what} has "
                f"{features.shape[1]}: extract both with the same backbone"
            )
    settings: dict[str, Any] = dict(num_classes=num_classes, tolerance=tolerance, max_iter=max_iter)
    fitted, held_out = _scale(scaling, train[0], val[0])
    models: list[LogisticModel] = []
    scores: list[float] = []
    for penalty in order:
        start = _start(models, penalty)
        models.append(
            fit_logistic_regression(fitted, train[1], penalty=penalty, start=start, **settings)
        )
        predictions = models[-1].predict(held_out)
        scores.append(accuracy_of(metric, predictions, val[1], num_classes=num_classes))
        on_fit(models[-1], scores[-1])
    best = scores.index(max(scores))
    everything = torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]])
    fitted, unseen = _scale(scaling, everything[0], test[0])
    model = fit_logistic_regression(
        fitted, everything[1], penalty=order[best], start=models[best], **settings
    )
    predictions = model.predict(unseen)
    test_score = accuracy_of(metric, predictions, test[1], num_classes=num_classes)
    return PenaltySweep(
        penalties=tuple(order[::-1]),
        val_scores=tuple(scores[::-1]),
        iterations=tuple(m.iterations for m in models[::-1]),
        converged=tuple(m.converged for m in models[::-1]),
        model=model,
        val_score=scores[best],
        test_score=test_score,
        predictions=predictions,
    )


def _start(fitted: Sequence[LogisticModel], penalty: float) -> LogisticModel | None:
    """Extrapolate the weights of the last two fits linearly in log(penalty), as the next start.

    With hundreds of features and the penalties of the protocol, this takes half the iterations of
    starting at the last weights. The optimum does not depend on the start.
    """
    if len(fitted) < 2:
        return fitted[-1] if fitted else None
    before, last = fitted[-2:]
    step = math.log(last.penalty / penalty) / math.log(before.penalty / last.penalty)
    # Penalties may be unevenly spaced, so go no further than the last step went.
    step = min(step, 1.0)
    weight = last.weight + step * (last.weight - before.weight)
    return replace(last, weight=weight, bias=last.bias + step * (last.bias - before.bias))


def _scale(scaling: str, fitted: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Scale the images of the fit, and other images in the same way."""
    if scaling == "l2":
        return F.normalize(fitted, dim=1), F.normalize(others, dim=1)
    if scaling == "none":
        return fitted, others
    mean, std = fitted.mean(dim=0), fitted.std(dim=0, correction=0)
    # A constant feature has no scale, and is only centred.
    std = torch.where(std > 0, std, torch.ones_like(std))
    return (fitted - mean) / std, (others - mean) / std
