"""Checks of features and labels, shared by all protocols on frozen features."""

from __future__ import annotations

import torch
from torch import Tensor

from bam_mm.errors import InputError

ROWS_AT_ONCE = 1 << 13


def check_rows(
    what: str, features: Tensor, labels: Tensor | None = None, *, num_classes: int | None = None
) -> None:
    """Check a table of features, and its labels if they are passed.

    Args:
        what: Name of the table in error messages.
        features: (N, D) features.
        labels: (N,) integer labels in [0, num_classes); None checks the features only.
        num_classes: Number of classes; None does not check the range of the labels.

    Raises:
        InputError: If shapes do not agree, a feature is not finite, or a label is out of range.
    """
    if features.ndim != 2:
        raise InputError(
            f"{what} {tuple(features.shape)} must be a table (rows, features): pool maps to one "
            "vector per image first"
        )
    bad = _rows_not_finite(features)
    if len(bad):
        raise InputError(
            f"{what}: {len(bad)} of {len(features)} rows are not finite, the first is row "
            f"{int(bad[0])}: check the checkpoint, and extract the features in float32"
        )
    if labels is not None:
        check_labels(what, labels, len(features), num_classes=num_classes)


def check_labels(
    what: str, labels: Tensor, rows: int | None, *, num_classes: int | None = None
) -> None:
    """Check the labels of a table of features.

    Args:
        what: Name of the table in error messages.
        labels: (N,) integer labels in [0, num_classes).
        rows: Number of rows N of the table; None accepts any number.
        num_classes: Number of classes; None does not check the range of the labels.

    Raises:
        InputError: If shapes do not agree, or a label is out of range or no integer.
    """
    if labels.ndim != 1 or rows not in (None, len(labels)):
        raise InputError(
            f"{what}_labels {tuple(labels.shape)} must hold one label for each of the "
            f"{labels.numel() if rows is None else rows} rows of the {what}"
        )
    if not len(labels):
        return
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"{what}_labels are {labels.dtype}: pass integers, as in labels.long()")
    low, high = int(labels.min()), int(labels.max())
    if num_classes is not None and (low < 0 or high >= num_classes):
        row = int(((labels < 0) | (labels >= num_classes)).nonzero()[0])
        raise InputError(
            f"{what}_labels run from {low} to {high} (row {row} is the first that is out of "
            f"range), but num_classes={num_classes} allows 0 to {num_classes - 1}; check the "
            "classes of the data set"
        )


def _rows_not_finite(features: Tensor) -> Tensor:
    """Return the indices of rows with an entry that is not finite, without a full-size mask."""
    if not features.numel() or all(bound.isfinite() for bound in features.aminmax()):
        return torch.empty(0, dtype=torch.long)  # NaN and infinities show in the minimum or maximum
    parts = [~part.isfinite().all(dim=1) for part in features.split(ROWS_AT_ONCE)]
    return torch.cat(parts).nonzero().flatten()
