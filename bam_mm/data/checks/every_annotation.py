"""Checks of every image and annotation of a data set: whether they share their pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bam_mm.data.checks.folders import Finding, images_in
from bam_mm.data.checks.own_instances import folder_of_images
from bam_mm.data.file_names import is_hidden
from bam_mm.data.map_files import read_map_file
from bam_mm.data.map_labels import to_labels
from bam_mm.data.orientation import AUTO, STORED, UPRIGHT, choose_pixels, is_published, read_header
from bam_mm.errors import InputError

MOST = 20
"""Number of faults of one kind of file to list."""


def check_maps(root: Path, num_classes: int, progress: Callable = iter) -> list[Finding]:
    """Check every map below ``root/annotations`` against its image below ``root/images``.

    Args:
        root: Folder of the data set, in the layout of ADE20K.
        num_classes: Number of classes; maps count them from 1, and 0 is unlabelled.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Returns:
        One finding for each of the first faulty maps, or a single one that all fit.
    """
    images = {_name(path, root / "images"): path for path in images_in(root / "images")}
    maps = sorted(images_in(root / "annotations"))
    faults, stored, unlabelled, pixels = [], 0, 0, 0
    for path in progress(maps):
        image = images.get(_name(path, root / "annotations"))
        if read_header(path) is None:
            continue  # The check of all images reports it.
        try:
            ids, is_stored = _check_map(path, image, num_classes)
            stored += is_stored
            unlabelled, pixels = unlabelled + int((ids == 0).sum()), pixels + ids.size
        except InputError as error:
            faults.append(Finding.of(error))
    text = (
        f"{len(maps):,} maps have the sizes of their images and labels of 0 to {num_classes}; 0 "
        f"(unlabelled) covers {unlabelled / max(pixels, 1):.1%} of the pixels"
    )
    if stored:
        text += f"; {stored:,} belong to pixels as stored, before the turn that Exif names"
    return _first(faults, "maps") or [Finding(True, text)]


def check_instance_sizes(root: Path, progress: Callable = iter) -> list[Finding]:
    """Check the size of every image of the instance files below a folder.

    Files without boxes and masks, such as those of captions, are left out.

    Args:
        root: Folder of the data set, or one instance file with its images beside or below it.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Returns:
        For each file with images, the first faults or a finding that all sizes fit.
    """
    findings = []
    for path in [root] if root.is_file() else sorted(root.rglob("*.json")):
        content = {"images": []} if is_hidden(path) else _instances_of(path)
        folder = folder_of_images(root.parent if root.is_file() else root, path, content)
        if folder is None:
            continue
        entries = content["images"]
        faults = [Finding.of(error) for error in _size_faults(progress(entries), folder, path)]
        findings += _first(faults, f"images of {path.name}") or [
            Finding(True, f"sizes of {len(entries):,} images of {path} are those of the files")
        ]
    return findings


def _check_map(path: Path, image: Path | None, num_classes: int) -> tuple[np.ndarray, bool]:
    """Return the ids of a map, and whether it belongs to stored pixels that Exif turns."""
    ids, stored = read_map_file(path), False
    header = None if image is None else read_header(image)
    if header is not None:
        height, width = ids.shape
        source = f"its map {path}"
        choice = UPRIGHT if is_published(str(image)) else AUTO
        chosen = choose_pixels(header, (height, width), choice, path=str(image), source=source)
        stored = chosen == STORED and header.orientation != 1
    to_labels(ids, num_classes, str(path), reduced=True)
    return ids, stored


def _size_faults(entries: Sequence[dict], folder: Path, place: Path) -> Iterator[InputError]:
    for entry in entries:
        path = str(folder / entry["file_name"].replace("\\", "/"))
        header = read_header(path)
        size = (entry.get("height"), entry.get("width"))
        if header is None:
            continue
        known: Any = None if None in size else size
        try:
            choice = UPRIGHT if is_published(path, place) else AUTO
            choose_pixels(header, known, choice, path=path, source=f"its entry in {place}")
        except InputError as error:
            yield error


def _instances_of(path: Path) -> dict[str, list[dict]]:
    """Return the images of a file with boxes or masks; none for any other file."""
    try:
        content = json.loads(path.read_bytes())
        annotated = any("bbox" in each or "segmentation" in each for each in content["annotations"])
        images = [entry for entry in content["images"] if isinstance(entry["file_name"], str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"images": []}  # The check of instance files reports it.
    return {"images": images if annotated else []}


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def _first(faults: list[Finding], what: str) -> list[Finding]:
    if len(faults) <= MOST:
        return faults
    rest = Finding(False, f"{len(faults) - MOST:,} more {what} are faulty", "correct them as well")
    return [*faults[:MOST], rest]
