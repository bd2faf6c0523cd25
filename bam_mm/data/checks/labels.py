"""Checks that images and labels fit the batch and the head, before a long run starts."""

from __future__ import annotations

from collections.abc import Sized
from typing import cast

import numpy as np
from torch.utils.data import DataLoader

from bam_mm.data.class_names import classes_of, names_of, unwrap
from bam_mm.errors import InputError, listing


def check_iterations(loader: DataLoader) -> None:
    """Check that an epoch has an iteration.

    Args:
        loader: Loader of the training images of this process.

    Raises:
        InputError: If incomplete batches are dropped and there is no complete one.
    """
    if not len(loader):
        raise InputError(
            f"an epoch has no iteration: {len(cast(Sized, loader.dataset))} training images are "
            f"fewer than a batch of {batch_size_of(loader)} on every process, and incomplete "
            "batches are dropped; set a smaller one with --cfg-options "
            "train_dataloader.batch_size=N"
        )


def batch_size_of(loader: DataLoader) -> int:
    """Return the number of images of a batch, also with a batch sampler such as mmdet's."""
    return getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size or 1


def check_labels(dataset, num_classes: int, *, part: str) -> None:
    """Check the labels of a data set against the size of the head.

    Args:
        dataset: Data set of mmpretrain, with ``CLASSES`` and ``get_gt_labels()``.
        num_classes: Number of outputs of the head.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If the data set has no labels, another number of classes, only one of them to
            train on, or a label outside 0 to ``num_classes - 1``.
    """
    inner = unwrap(dataset)
    place = getattr(inner, "data_root", "") or type(inner).__name__
    classes = classes_of(inner)
    if part == "train" and (len(classes) if classes else num_classes) == 1:
        raise InputError(
            f"the train data in {place} has a single class{f' ({classes[0]})' if classes else ''}, "
            f"but a classifier needs two: arrange it as {place}/<class>/<image>, with a folder per "
            "class"
        )
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f"the head has {num_classes} outputs, but the {part} data in {place} has "
            f"{len(classes)} classes ({listing(classes)}): set --cfg-options "
            f"num_classes={len(classes)}, or set data_root to the data that the head is meant for"
        )
    try:
        labels, items = _labels_of(inner)
    except KeyError:
        raise InputError(
            f"the {part} data in {place} has no labels: arrange it as "
            f"{place}/<class>/<image>, with a folder per class"
        ) from None
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        first, label = int(items[wrong[0]]), labels[wrong[0]]
        name = inner.get_data_info(first).get("img_path", f"item {first}")
        raise InputError(
            f"{len(wrong)} label{'s' * (len(wrong) > 1)} of the {part} data in {place} "
            f"{'are' if len(wrong) > 1 else 'is'} out of range: {name} has label {label}, "
            f"but a head with {num_classes} outputs knows 0 to {num_classes - 1}; count labels "
            f"from 0, or set --cfg-options num_classes={int(labels.max()) + 1}"
        )


def _labels_of(dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return all labels of a data set, and for each the number of its image.

    Multi-label data have any number of labels an image.
    """
    try:
        found = dataset.get_gt_labels()
    except ValueError:  # mmpretrain makes an array of them, which needs as many for every image.
        found = [dataset.get_data_info(number)["gt_label"] for number in range(len(dataset))]
    if getattr(found, "ndim", 0) == 1 and found.dtype.kind in "iu":
        return found, np.arange(len(found))
    labels = [np.atleast_1d(np.asarray(each, dtype=np.int64)) for each in found]
    items = np.repeat(np.arange(len(labels)), [len(each) for each in labels])
    return np.concatenate([*labels, np.empty(0, np.int64)]), items


def check_same_classes(first, second, *, parts: tuple[str, str] = ("train", "val")) -> None:
    """Check that two parts of a data set number the same classes in the same way.

    Args:
        first: Data set of the first part, with ``CLASSES``.
        second: Data set of the second part, with ``CLASSES``.
        parts: Names of the two parts, for the message.

    Raises:
        InputError: If the classes differ, so that labels would have different meanings.
    """
    known, other = names_of(first, parts[0]).namings, names_of(second, parts[1]).namings
    if not known or not other or set(known) & set(other):
        return
    a, b = known[0], other[0]
    faults = [
        f"only in {part}: {listing(sorted(set(own) - set(other)))}"
        for part, own, other in ((parts[0], a, b), (parts[1], b, a))
        if set(own) - set(other)
    ]
    raise InputError(
        f"{parts[0]} and {parts[1]} have different classes ("
        f"{'; '.join(faults) or 'the same in another order'}): use the same class folders in both, "
        "because labels follow their sorted names (bam-mm check-data folder DATA_ROOT "
        "lists the differences)"
    )
