"""Whether 0 is a class in semantic maps, and whether their data set reads it so.

A wrong ``reduce_zero_label`` shifts every label by one without an error: class 0 is ignored, and
each other class is trained under the name of the one before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.logging import print_log

from bam_mm.data.checks.map_folders import loader_key
from bam_mm.data.map_labels import IGNORED
from bam_mm.errors import InputError

KNOWN_BY = "zero_is_unlabelled"
"""Key of ``metainfo`` that is True if 0 is unlabelled, although the maps look otherwise."""

MUCH = 0.25
"""Fraction of pixels with 0 from which on a warning says that they are ignored."""

LITTLE = 0.02
"""Fraction of pixels with 0 up to which they are taken for gaps between labelled regions."""

RARE = 20
"""One in this many classes may be absent from maps that otherwise show all ids from 0 on."""


@dataclass
class Counts:
    """Pixels of each id in the maps that were read.

    Attributes:
        pixels: (256,) number of pixels of each id.
        maps: Number of maps.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(IGNORED + 1, np.int64))
    maps: int = 0

    def add(self, ids: np.ndarray) -> None:
        """Add the (H, W) ids of a map."""
        self.pixels += np.bincount(ids.ravel(), minlength=len(self.pixels))
        self.maps += 1

    def ids(self) -> set[int]:
        """Return the ids that occur."""
        return {int(value) for value in np.flatnonzero(self.pixels)}

    def share(self, number: int) -> float:
        """Return the fraction of pixels with an id, of those that are not 255."""
        return float(self.pixels[number]) / max(int(self.pixels[:IGNORED].sum()), 1)


def check_zero(
    counts: Counts,
    reduced: bool | None,
    metainfo: dict[str, Any],
    part: str,
    search: Callable[[Callable[[Counts], bool]], Counts],
) -> None:
    """Compare the ids of maps with the classes and ``reduce_zero_label`` of their data set.

    Args:
        counts: Ids of a sample of the maps; those beyond the classes may be among them only where
            they are equal to the number of classes, and 0 counts as a class.
        reduced: ``reduce_zero_label`` of the data set; None if it is not set.
        metainfo: ``metainfo`` of the data set, with ``classes``.
        part: ``train``, ``val`` or ``test``. Only training maps are expected to show every class.
        search: Function that reads more maps until a condition holds, and returns their ids.

    Raises:
        InputError: If the setting is missing, or contradicts the ids.
    """
    classes = list(metainfo["classes"])
    if reduced is None:
        raise InputError(_unset(counts, classes, part))
    found = counts.ids() - {IGNORED}
    if reduced and 0 in found:
        _check_reduced(counts, classes, metainfo, part, search)
    elif not reduced and len(classes) in found:
        raise InputError(_from_one(counts, classes, part))
    elif not reduced and found and 0 not in found:
        counts = search(lambda more: bool(more.ids() & {0, len(classes)}))
        if len(classes) in counts.ids():
            raise InputError(_from_one(counts, classes, part))
        if 0 not in counts.ids():
            _log(
                f"no pixel of {counts.maps} checked {part} maps is 0, the class {classes[0]!r}: "
                "set reduce_zero_label=True if they count classes from 1",
                warn=part == "train",
            )


def check_same_zero(settings: Iterable[tuple[str, Any, Any]]) -> None:
    """Check that all parts of one data set agree on ``reduce_zero_label``.

    Args:
        settings: Part, folder and ``reduce_zero_label`` of each data set.

    Raises:
        InputError: If two parts of a folder differ, or a setting is no switch.
    """
    first: dict[str, tuple[str, bool]] = {}
    for part, root, reduced in settings:
        if reduced is None:  # It stops where its maps are read.
            continue
        if not isinstance(reduced, (bool, int)):  # Any text would be true, also 'no'.
            raise InputError(
                f"{loader_key(part)}.dataset.reduce_zero_label={reduced!r}: write True if 0 is "
                "unlabelled in the maps, False if it is a class"
            )
        other, before = first.setdefault(str(root), (part, bool(reduced)))
        if before != bool(reduced):
            raise InputError(
                f"{loader_key(other)}.dataset.reduce_zero_label is {before}, but that of "
                f"{loader_key(part)} is {bool(reduced)}, both for {root}: set the same in all, "
                "True if 0 is unlabelled in the maps, False if it is a class"
            )


def _check_reduced(
    counts: Counts,
    classes: Sequence[str],
    metainfo: dict[str, Any],
    part: str,
    search: Callable[[Callable[[Counts], bool]], Counts],
) -> None:
    last = len(classes)
    known = bool(metainfo.get(KNOWN_BY))
    if part == "train" and not known and counts.share(0) > LITTLE and last not in counts.ids():
        # The last class may be in other maps.
        counts = search(lambda more: last in more.ids())
    found = counts.ids() - {IGNORED}
    share = counts.share(0)
    absent = set(range(last)) - found
    from_zero = last not in found and last - 1 in found and len(absent) <= last // RARE
    if from_zero and not known and part == "train" and share > LITTLE:
        raise InputError(
            f"reduce_zero_label=True ignores 0, but {counts.maps} checked {part} maps count their "
            f"{last} classes from 0: {share:.1%} of the pixels are 0, {counts.share(last - 1):.1%} "
            f"are {last - 1}, and none is {last} ({classes[-1]!r}). Set reduce_zero_label=False in "
            f"all data sets, or metainfo.{KNOWN_BY}=True if 0 is unlabelled and no map shows "
            f"{classes[-1]!r}"
        )
    hint = "" if last in found else f", and none is {last}, the last class"
    _log(
        f"{share:.1%} of the pixels of {counts.maps} checked {part} maps are 0{hint}: "
        "reduce_zero_label=True ignores them; set it to False if 0 is a class",
        warn=last not in found and share > MUCH and not known,
    )


def _from_one(counts: Counts, classes: Sequence[str], part: str) -> str:
    last = len(classes)
    lowest = min(counts.ids() - {0, IGNORED})
    return (
        f"reduce_zero_label=False counts {last} classes from 0 to {last - 1}, but the ids of "
        f"{counts.maps} checked {part} maps run from {lowest} to {last}: {counts.share(0):.1%} of "
        f"the pixels are 0, and {counts.share(last):.1%} are {last}. Set reduce_zero_label=True in "
        f"all data sets if 0 is unlabelled, or num_classes={last + 1} and one more name in "
        "metainfo.classes if it is a class"
    )


def _unset(counts: Counts, classes: Sequence[str], part: str) -> str:
    found = sorted(counts.ids() - {IGNORED})
    seen = f"{found[0]} to {found[-1]}" if found else f"{IGNORED} alone"
    return (
        f"{loader_key(part)}.dataset.reduce_zero_label is not set, and {counts.maps} checked "
        f"{part} maps have the ids {seen} for {len(classes)} classes ({counts.share(0):.1%} of the "
        "pixels are 0). Set it to False in all data sets if 0 is a class, to True if 0 is "
        "unlabelled and classes count from 1"
    )


def _log(text: str, *, warn: bool) -> None:
    print_log(text, logger="current", level=logging.WARNING if warn else logging.INFO)
