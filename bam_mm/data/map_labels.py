"""Labels of semantic maps: from ids in files to those that a head is trained with."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from bam_mm.errors import InputError

IGNORED = 255
"""Label of pixels that are ignored."""


def to_labels(
    ids: np.ndarray,
    num_classes: int,
    path: str,
    *,
    reduced: bool = False,
    label_map: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Convert the ids of a map to labels, as mmseg does with 8-bit ids.

    Args:
        ids: (H, W) integer ids, not negative.
        num_classes: Number of classes of the head, at most 255.
        path: Path of the map, for messages.
        reduced: Whether the map counts classes from 1, and 0 is ignored.
        label_map: New label of each old one, for a data set with a part of its classes.

    Returns:
        (H, W) labels of type uint8; 255 is ignored.

    Raises:
        InputError: If a label is beyond the classes, or there are more classes than labels.
    """
    if num_classes + reduced > IGNORED:
        raise InputError(
            f"num_classes={num_classes}: label {IGNORED} marks pixels to ignore, so maps have at "
            f"most {IGNORED - reduced} classes; merge classes, or load maps by your own transform"
        )
    beyond = ids[ids > IGNORED]
    if beyond.size:
        raise InputError(_beyond(path, int(beyond.max()), beyond.size, num_classes, reduced))
    first = [IGNORED, *range(IGNORED - 1), IGNORED] if reduced else range(IGNORED + 1)
    table = np.array(first, np.uint8)
    if label_map:
        old = table.copy()
        for before, after in label_map.items():
            table[old == before] = after
    labels = np.asarray(cv2.LUT(ids.astype(np.uint8, copy=False), table))
    check_map(labels, num_classes, path, reduced=reduced)
    return labels


def check_map(labels, num_classes: int, path: str, *, reduced: bool = False) -> None:
    """Check the labels of a semantic map.

    Args:
        labels: (H, W) integer labels.
        num_classes: Number of classes of the head. :data:`IGNORED` is allowed as well.
        path: Path of the map, for the message.
        reduced: Whether the file counts classes from 1 and ``labels`` was reduced to count from 0.

    Raises:
        InputError: If a label is beyond the classes.
    """
    beyond = labels[(labels >= num_classes) & (labels != IGNORED)]
    if beyond.size:
        value = int(beyond.max()) + reduced
        raise InputError(_beyond(path, value, beyond.size, num_classes, reduced))


def _beyond(path: str, value: int, pixels: int, num_classes: int, reduced: bool) -> str:
    needed = value + (not reduced)
    known = (
        f"1 to {num_classes} (0: unlabelled)"
        if reduced
        else f"0 to {num_classes - 1} (255: ignored)"
    )
    remedy = f"set --cfg-options num_classes={needed}, or " if value < IGNORED - 1 else ""
    remedy += "correct the map"
    if not reduced and value == num_classes:
        remedy += " (reduce_zero_label=True if it counts classes from 1, and 0 is unlabelled)"
    return f"{path} has label {value} in {pixels} pixels, the head knows {known}: {remedy}"
