"""Top-1 and mean per-class accuracy, the metrics of the transfer protocol."""

from __future__ import annotations

import torch
from torch import Tensor

from bam_mm.errors import InputError, listing


def top1_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Compute the fraction of images that are classified correctly.

    Args:
        predictions: (N,) integers, the predicted classes.
        labels: (N,) integers, the true classes.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If predictions and labels differ in shape, or are empty.
    """
    if predictions.shape != labels.shape or not len(labels):
        raise InputError(
            f"accuracy of {tuple(predictions.shape)} predictions and {tuple(labels.shape)} labels: "
            "pass one prediction for each label, and at least one label"
        )
    return float((predictions == labels).double().mean())


def mean_per_class_accuracy(predictions: Tensor, labels: Tensor, *, num_classes: int) -> float:
    """Compute the accuracy of each class, averaged over the classes.

    This is the metric of Aircraft, Pets and Flowers. Every class has the same weight, however many
    images it has.

    Args:
        predictions: (N,) integers, the predicted classes.
        labels: (N,) integers in [0, num_classes), the true classes.
        num_classes: Number of classes.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If predictions and labels differ in shape or are empty, or if a class has no
            image.
    """
    top1_accuracy(predictions, labels)  # checks the shapes
    images = torch.bincount(labels, minlength=num_classes)
    empty = (images == 0).nonzero().flatten().tolist()
    if empty:
        raise InputError(
            f"mean per-class accuracy over {num_classes} classes, but class {listing(empty, 10)} "
            "has no image to be scored on: add images of it, or use metric='top1'"
        )
    correct = torch.bincount(labels[predictions == labels], minlength=num_classes)
    return float((correct.double() / images).mean())


def accuracy_of(metric: str, predictions: Tensor, labels: Tensor, *, num_classes: int) -> float:
    """Compute the accuracy that ``metric`` names.

    Args:
        metric: ``top1`` or ``mean_per_class``.
        predictions: (N,) integers, the predicted classes.
        labels: (N,) integers in [0, num_classes), the true classes.
        num_classes: Number of classes.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If the metric is unknown, or rejects its inputs.
    """
    if metric == "top1":
        return top1_accuracy(predictions, labels)
    if metric == "mean_per_class":
        return mean_per_class_accuracy(predictions, labels, num_classes=num_classes)
    raise InputError(f"metric={metric!r}: choose 'top1' or 'mean_per_class'")
