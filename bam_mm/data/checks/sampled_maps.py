"""Check of the ids of some semantic maps at the start of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from mmengine.logging import print_log

from bam_mm.data.map_files import read_map_file
from bam_mm.data.map_labels import IGNORED, to_labels
from bam_mm.data.orientation import mismatch, read_header
from bam_mm.errors import InputError

SAMPLE = 16
"""Number of maps that are read."""

SEARCH = 500
"""Number of maps that are read to find a labelled pixel if the sample has none."""

MUCH = 0.25
"""Fraction of pixels with 0 from which on a warning says that they are ignored."""

_Entry = TypeVar("_Entry")
_Result = TypeVar("_Result")


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


def check_sampled_maps(dataset: Any, loader: Any, classes: int, part: str) -> None:
    """Check the maps of a data set of mmseg: a sample, evenly spaced.

    Args:
        dataset: Data set of mmseg; others, those without maps, and those that ignore another label
            than 255 are not checked.
        loader: Transform of its pipeline that loads maps: ``LoadSemanticMap`` or mmseg's
            ``LoadAnnotations``.
        classes: Number of classes of the data.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If a map cannot be read, has another size than its image or a label beyond the
            classes, the pipeline reads it differently, or no pixel of any map is labelled.
    """
    if getattr(dataset, "ignore_index", IGNORED) != IGNORED:
        return
    total = len(dataset)
    sample = [dataset.get_data_info(index) for index in evenly_spaced(total, SAMPLE)]
    if not all("reduce_zero_label" in info and info.get("seg_map_path") for info in sample):
        return
    check = partial(_check_map, loader=loader, classes=classes)
    counts, reduced = Counts(), bool(sample[0]["reduce_zero_label"])
    for ids in all_or_first_fault(sample, check, f"{part} maps"):
        counts.add(ids)
    if counts.ids() <= {0, IGNORED} and (reduced or IGNORED in counts.ids()):
        # The few labelled pixels may be elsewhere.
        counts = Counts()
        for index in evenly_spaced(total, SEARCH):
            counts.add(check(dataset.get_data_info(index)))
            if not counts.ids() <= {0, IGNORED}:
                break
    _check_counts(counts, reduced, classes, part)


def all_or_first_fault(
    entries: Iterable[_Entry], check: Callable[[_Entry], _Result], what: str
) -> list[_Result]:
    """Check all entries before the first fault is raised, with the number of faults.

    Args:
        entries: Entries to check.
        check: Function that returns a result or raises an ``InputError``.
        what: Kind of the entries, such as ``train maps``.

    Returns:
        The results.

    Raises:
        InputError: The first fault.
    """
    results: list[_Result] = []
    faults: list[InputError] = []
    for entry in entries:
        try:
            results.append(check(entry))
        except InputError as error:
            faults.append(error)
    if faults:
        checked = len(results) + len(faults)
        raise InputError(
            f"{len(faults)} of {checked} checked {what} are faulty, the first: {faults[0]}"
        )
    return results


def evenly_spaced(total: int, most: int) -> list[int]:
    """Return up to ``most`` indices from 0 to ``total - 1``, evenly spaced and without repeats."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(int)).tolist()


def _check_map(info: dict, loader: Any, classes: int) -> np.ndarray:
    """Return the ids of a map that fits its image, the classes and the pipeline's loader."""
    path = str(info["seg_map_path"])
    ids = read_map_file(path)
    header = read_header(info["img_path"])
    if header is not None and ids.shape not in (header.stored, header.upright):
        source = f"its map {path}"
        raise InputError(mismatch(header.upright, ids.shape, path=info["img_path"], source=source))
    reduced, label_map = bool(info["reduce_zero_label"]), info.get("label_map")
    labels = to_labels(ids, classes, path, reduced=reduced, label_map=label_map)
    if type(loader).__module__.startswith("mmseg."):
        _check_loaded(labels, info, loader)
    return ids


def _check_loaded(labels: np.ndarray, info: dict, loader: Any) -> None:
    """Check that mmseg's loader returns the labels of a map."""
    try:
        found = loader(dict(info, seg_fields=[]))["gt_seg_map"]
        fault = "" if np.array_equal(found, labels) else "reads other labels"
    except Exception as error:
        fault = f"fails ({error})"
    if fault:
        raise InputError(
            f"{type(loader).__name__} {fault} from {info['seg_map_path']}: put dict("
            "type='bam_mm.LoadSemanticMap', num_classes=N) in its place in the pipelines, or save "
            "maps with one channel of 8 bits"
        )


def _check_counts(counts: Counts, reduced: bool, classes: int, part: str) -> None:
    found = counts.ids()
    if found == {0, IGNORED}:
        raise InputError(
            f"the {counts.maps} checked {part} maps hold only 0 and {IGNORED}, as masks of black "
            f"and white do, and {IGNORED} marks pixels to ignore: save ids of classes, "
            f"{'1 and 2' if reduced else '0 and 1'} instead"
        )
    if found <= ({0, IGNORED} if reduced else {IGNORED}):
        fault = "are 0, which reduce_zero_label=True ignores: correct the maps or this setting"
        if 0 not in found:
            fault = f"are {IGNORED}, which marks pixels to ignore: correct the maps"
        raise InputError(f"all pixels of the {counts.maps} checked {part} maps {fault}")
    if reduced and 0 in found:
        share = counts.pixels[0] / counts.pixels.sum()
        hint = "" if classes in found else f", and none is {classes}, the last class"
        print_log(
            f"{share:.1%} of the pixels of {counts.maps} checked {part} maps are 0{hint}: "
            "reduce_zero_label=True ignores them; set it to False if 0 is a class",
            logger="current",
            level=logging.WARNING if share > MUCH else logging.INFO,
        )
