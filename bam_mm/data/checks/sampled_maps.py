"""Check of the ids of some semantic maps at the start of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from bam_mm.data.checks.zero_label import KNOWN_BY, Counts, check_zero
from bam_mm.data.map_files import read_map_file
from bam_mm.data.map_labels import IGNORED, to_labels
from bam_mm.data.orientation import is_published, mismatch, read_header
from bam_mm.errors import InputError

SAMPLE = 16
"""Number of maps that are read."""

SEARCH = 500
"""Number of maps that are read to find a labelled pixel if the sample has none."""

DEEP_SEARCH = 2000
"""Number of maps that are read before the last class is taken to be in none of them."""

ADE20K = 150
"""Number of classes of ADE20K, in which 0 is unlabelled."""

_Entry = TypeVar("_Entry")
_Result = TypeVar("_Result")


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
            classes, the pipeline reads it differently, no pixel of any map is labelled, or
            ``reduce_zero_label`` is not set or contradicts the ids.
    """
    if getattr(dataset, "ignore_index", IGNORED) != IGNORED:
        return
    total = len(dataset)
    sample = [dataset.get_data_info(index) for index in evenly_spaced(total, SAMPLE)]
    if not all("reduce_zero_label" in info and info.get("seg_map_path") for info in sample):
        return
    check = partial(_check_map, loader=loader, classes=classes)
    counts, reduced = Counts(), sample[0]["reduce_zero_label"]

    def search(enough: Callable[[Counts], bool], most: int = DEEP_SEARCH) -> Counts:
        """Read maps until a condition on their ids holds; the sample may lack what others show."""
        more = Counts()
        for index in evenly_spaced(total, most):
            more.add(check(dataset.get_data_info(index)))
            if enough(more):
                break
        return more

    for ids in all_or_first_fault(sample, check, f"{part} maps"):
        counts.add(ids)
    if counts.ids() <= {0, IGNORED} and (reduced or IGNORED in counts.ids()):
        counts = search(lambda more: not more.ids() <= {0, IGNORED}, SEARCH)
    _check_labelled(counts, bool(reduced), part)
    if sample[0].get("label_map"):
        return  # A part of the classes: the ids of the others say nothing.
    metainfo = dict(dataset.metainfo)
    if classes == ADE20K and all(is_published(info["img_path"]) for info in sample):
        metainfo[KNOWN_BY] = True
    check_zero(counts, reduced, metainfo, part, search)


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
    beside = ids[ids != IGNORED]
    if not reduced and not label_map and beside.size and beside.max() == classes < IGNORED:
        return ids  # One beyond the last class: all maps together tell whether they count from 1.
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
            f"{type(loader).__name__} {fault} from {info['seg_map_path']}: put "
            "dict(type='bam_mm.LoadSemanticMap') in its place in the pipelines, or save maps with "
            "one channel of 8 bits"
        )


def _check_labelled(counts: Counts, reduced: bool, part: str) -> None:
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
