"""Whether labels and head belong together, before an hour is spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bam_mm.errors import InputError, listing


def check_labels(dataset, num_classes: int, *, part: str) -> None:
    """Check a data set against the size of the head.

    Args:
        dataset: Of mmpretrain's kind: ``CLASSES`` and ``get_gt_labels()``.
        num_classes: Outputs of the head.
        part: ``train``, ``val`` or ``test``, for the message.

    Raises:
        InputError: If the data set has no labels, another number of classes, or a label outside
            of 0 to ``num_classes - 1``.
    """
    place = getattr(dataset, "data_root", "") or type(dataset).__name__
    classes = dataset.CLASSES
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f"the head has {num_classes} outputs, but the {part} data in {place} has "
            f"{len(classes)} classes ({listing(classes)}): set --cfg-options "
            f"num_classes={len(classes)}, or point data_root at the data that the head is meant for"
        )
    try:
        labels = np.asarray(dataset.get_gt_labels())
    except KeyError:
        raise InputError(
            f"the {part} data in {place} has no labels: arrange it as "
            f"{place}/<class>/<image>, a folder a class"
        ) from None
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        first = int(wrong[0])
        name = dataset.get_data_info(first).get("img_path", f"item {first}")
        raise InputError(
            f"{len(wrong)} label{'s' * (len(wrong) > 1)} of the {part} data in {place} out of "
            f"range: {name} has label {labels[first]}, but a head of {num_classes} outputs knows 0 "
            f"to {num_classes - 1}; count labels from 0, or set --cfg-options "
            f"num_classes={int(labels.max()) + 1}"
        )


def check_same_classes(first, second, *, parts: tuple[str, str] = ("train", "val")) -> None:
    """Check that two parts of a data set number the same classes in the same way.

    Raises:
        InputError: If they differ: labels would then mean different things.
    """
    a, b = first.CLASSES, second.CLASSES
    if a is None or b is None or list(a) == list(b):
        return
    faults = [
        f"only in {part}: {listing(sorted(set(own) - set(other)))}"
        for part, own, other in ((parts[0], a, b), (parts[1], b, a))
        if set(own) - set(other)
    ]
    raise InputError(
        f"{parts[0]} and {parts[1]} have different classes ("
        f"{'; '.join(faults) or 'the same in another order'}): labels are numbered by the sorted "
        f"names of the folders, so both need the same class folders (python tools/check_data.py "
        "folder DATA_ROOT lists what differs)"
    )
