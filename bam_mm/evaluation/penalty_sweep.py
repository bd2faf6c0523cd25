"""The transfer protocol: logistic regression, its penalty chosen on validation images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.evaluation.accuracy import accuracy_of
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.evaluation.logistic_regression import LogisticModel, fit_logistic_regression

PENALTIES: tuple[float, ...] = tuple(10.0 ** (-6 + 11 * i / 44) for i in range(45))
"""The 45 penalties of the protocol, 1e-6 to 1e5, evenly spaced in their logarithm."""

SCALINGS = ("none", "standard", "l2")

Table = tuple[Tensor, Tensor]
"""Features (N, D) and labels (N,)."""


@dataclass(frozen=True)
class PenaltySweep:
    """What a sweep found.

    Attributes:
        penalties: Rising.
        val_scores: Of each, in 0 to 1, fitted on the training images alone.
        iterations: Of each fit's solver.
        converged: Whether each fit stopped at its tolerance.
        model: The classifier refitted on training and validation images with the best penalty.
        val_score: The best, the strongest penalty's where several are.
        test_score: Of ``model``, in 0 to 1.
    """

    penalties: tuple[float, ...]
    val_scores: tuple[float, ...]
    iterations: tuple[int, ...]
    converged: tuple[bool, ...]
    model: LogisticModel
    val_score: float
    test_score: float

    @property
    def penalty(self) -> float:
        """The penalty chosen."""
        return self.model.penalty

    @property
    def at_end(self) -> bool:
        """Whether it is the lowest or highest: a better one may lie outside."""
        return len(self.penalties) > 1 and self.penalty in (self.penalties[0], self.penalties[-1])

    def warnings(self) -> list[str]:
        """What to know before believing the score, one sentence each."""
        said = []
        if self.at_end:
            end = "lowest" if self.penalty == self.penalties[0] else "highest"
            said.append(
                f"the penalty chosen, {self.penalty:.3g}, is the {end} of the "
                f"range {self.penalties[0]:.3g} to {self.penalties[-1]:.3g}: the best one may lie "
                "outside; scale the features, or widen the range"
            )
        chosen = self.penalties.index(self.penalty)
        if not self.converged[chosen] or not self.model.converged:
            said.append(
                f"the fit with the penalty chosen, {self.penalty:.3g}, had not converged after "
                f"{max(self.iterations[chosen], self.model.iterations)} iterations: raise max_iter"
            )
        return said


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
    """Fit every penalty, choose on validation, refit on both, score on test.

    The penalties are fitted from the highest to the lowest, each from where the weights of the two
    before it lead. The test images are looked at once, by the last classifier.

    Args:
        train: Features and labels of the training images.
        val: Of the validation images.
        test: Of the test images.
        num_classes: Number of classes.
        metric: ``top1`` or ``mean_per_class``, for the choice and for the score.
        penalties: See :func:`~bam_mm.evaluation.fit_logistic_regression`; C = 1 / penalty.
        scaling: ``none``, the protocol's; ``standard``: zero mean and unit variance of each
            feature over the images that are fitted; ``l2``: length 1.
        tolerance: Of the solver.
        max_iter: Of the solver.
        on_fit: Called after each penalty with the classifier and its score on validation.

    Returns:
        The sweep.

    Raises:
        InputError: If a table is wrong (see :func:`~bam_mm.evaluation.fit_logistic_regression`),
            or an option.
    """
    order = sorted(set(map(float, penalties)), reverse=True)
    if not order or len(order) != len(penalties):
        raise InputError(f"penalties={list(penalties)}: give one, or several different ones")
    if scaling not in SCALINGS:
        raise InputError(f"scaling={scaling!r}: choose one of {', '.join(SCALINGS)}")
    for what, (features, labels) in (("val", val), ("test", test)):
        check_rows(what, features, labels, num_classes=num_classes)
        # Of wrong sizes, or without a class that the metric needs: known before an hour of fits.
        accuracy_of(metric, labels, labels, num_classes=num_classes)
        if features.shape[1] != train[0].shape[1]:
            raise InputError(
                f"train has {train[0].shape[1]} features an image, {what} {features.shape[1]}: "
                "extract both with one backbone"
            )
    settings = dict(num_classes=num_classes, tolerance=tolerance, max_iter=max_iter)
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
    test_score = accuracy_of(metric, model.predict(unseen), test[1], num_classes=num_classes)
    return PenaltySweep(
        penalties=tuple(order[::-1]),
        val_scores=tuple(scores[::-1]),
        iterations=tuple(m.iterations for m in models[::-1]),
        converged=tuple(m.converged for m in models[::-1]),
        model=model,
        val_score=scores[best],
        test_score=test_score,
    )


def _start(fitted: Sequence[LogisticModel], penalty: float) -> LogisticModel | None:
    """Where to look for the next weights: on the line through the last two, in log(penalty).

    With hundreds of features and the protocol's penalties this halves the iterations that starts at
    the last weights take. The optimum is the same wherever the solver starts.
    """
    if len(fitted) < 2:
        return fitted[-1] if fitted else None
    before, last = fitted[-2:]
    step = math.log(last.penalty / penalty) / math.log(before.penalty / last.penalty)
    # Of the path's direction, not of its far end: penalties may be unevenly spaced.
    step = min(step, 1.0)
    weight = last.weight + step * (last.weight - before.weight)
    return replace(last, weight=weight, bias=last.bias + step * (last.bias - before.bias))


def _scale(scaling: str, fitted: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Scale the images that are fitted, and others in the same way."""
    if scaling == "l2":
        return F.normalize(fitted, dim=1), F.normalize(others, dim=1)
    if scaling == "none":
        return fitted, others
    mean, std = fitted.mean(dim=0), fitted.std(dim=0, correction=0)
    # A feature that never changes says nothing, and has no scale.
    std = torch.where(std > 0, std, torch.ones_like(std))
    return (fitted - mean) / std, (others - mean) / std
