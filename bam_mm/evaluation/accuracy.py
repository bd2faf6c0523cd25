"""Accuracy as the data sets of the transfer protocol count it."""

from __future__ import annotations

import torch
from torch import Tensor

from bam_mm.errors import InputError, listing


def top1_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Fraction of the images whose class is named.

    Args:
        predictions: (N,) integers.
        labels: (N,) integers.

    Returns:
        In 0 to 1.

    Raises:
        InputError: If the two differ in length, or are empty.
    """
    if predictions.shape != labels.shape or not len(labels):
        raise InputError(
            f"accuracy of {tuple(predictions.shape)} predictions and {tuple(labels.shape)} labels: "
            "give one prediction for each of at least one label"
        )
    return float((predictions == labels).double().mean())


def mean_per_class_accuracy(predictions: Tensor, labels: Tensor, *, num_classes: int) -> float:
    """Mean over the classes of the fraction of each class's images that are named.

    The metric of Aircraft, Pets and Flowers; a class counts the same however many images it has.

    Args:
        predictions: (N,) integers.
        labels: (N,) integers in [0, num_classes).
        num_classes: Number of classes.

    Returns:
        In 0 to 1.

    Raises:
        InputError: As :func:`top1_accuracy`, and if a class has no image.
    """
    top1_accuracy(predictions, labels)
    images = torch.bincount(labels, minlength=num_classes)
    empty = (images == 0).nonzero().flatten().tolist()
    if empty:
        raise InputError(
            f"mean per-class accuracy over {num_classes} classes, but class {listing(empty, 10)} "
            "has no image to be scored on: add images of it, or use metric='top1'"
        )
    named = torch.bincount(labels[predictions == labels], minlength=num_classes)
    return float((named.double() / images).mean())


def accuracy_of(metric: str, predictions: Tensor, labels: Tensor, *, num_classes: int) -> float:
    """``top1`` or ``mean_per_class`` accuracy, in 0 to 1.

    Raises:
        InputError: If there is no such metric, or as the metric.
    """
    if metric == "top1":
        return top1_accuracy(predictions, labels)
    if metric == "mean_per_class":
        return mean_per_class_accuracy(predictions, labels, num_classes=num_classes)
    raise InputError(f"metric={metric!r}: choose 'top1' or 'mean_per_class'")
