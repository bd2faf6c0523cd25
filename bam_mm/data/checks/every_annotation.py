"""Checks of every image and annotation of a data set: whether they share their pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bam_mm.data.checks.folders import Finding, images_in
from bam_mm.data.map_files import read_map_file
from bam_mm.data.map_labels import to_labels
from bam_mm.data.orientation import AUTO, STORED, choose_pixels, read_header
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
            faults.append(_finding(error))
    text = (
        f"{len(maps):,} maps have the sizes of their images and labels of 0 to {num_classes}; 0 "
        f"(unlabelled) covers {unlabelled / max(pixels, 1):.1%} of the pixels"
    )
    if stored:
        text += f"; {stored:,} belong to pixels as stored, before the turn that Exif names"
    return _first(faults, "maps") or [Finding(True, text)]


def check_instance_sizes(root: Path, progress: Callable = iter) -> list[Finding]:
    """Check the size of every image of the instance files in ``root/annotations``.

    Args:
        root: Folder of the data set, in the layout of COCO.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Returns:
        For each file with images, the first faults or a finding that all sizes fit.
    """
    findings = []
    for path in sorted((root / "annotations").glob("*.json")):
        entries = _images_of(path)
        folder = _folder_of(entries, root)
        if folder is None:
            continue
        faults = [_finding(error) for error in _size_faults(progress(entries), folder, path)]
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
        chosen = choose_pixels(header, (height, width), AUTO, path=str(image), source=source)
        stored = chosen == STORED and header.orientation != 1
    to_labels(ids, num_classes, str(path), reduced=True)
    return ids, stored


def _size_faults(entries: Sequence[dict], folder: Path, place: Path) -> Iterator[InputError]:
    for entry in entries:
        header = read_header(folder / entry["file_name"])
        size = (entry.get("height"), entry.get("width"))
        if header is None:
            continue
        known: Any = None if None in size else size
        path = str(folder / entry["file_name"])
        try:
            choose_pixels(header, known, AUTO, path=path, source=f"its entry in {place}")
        except InputError as error:
            yield error


def _images_of(path: Path) -> list[dict]:
    try:
        content = json.loads(path.read_bytes())
        return [entry for entry in content["images"] if isinstance(entry["file_name"], str)]
    except (ValueError, KeyError, TypeError):
        return []  # The check of instance files reports it.


def _folder_of(entries: Sequence[dict], root: Path) -> Path | None:
    """Return the folder of a file's images: below the data set's, and the first that has one."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    folders += [path for folder in folders[1:] for path in sorted(folder.glob("*/"))]
    for entry in entries[:1]:
        for folder in folders:
            if (folder / entry["file_name"]).is_file():
                return folder
    return None


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def _finding(error: InputError) -> Finding:
    text, _, remedy = str(error).rpartition(": ")
    return Finding(False, text, remedy)


def _first(faults: list[Finding], what: str) -> list[Finding]:
    if len(faults) <= MOST:
        return faults
    rest = Finding(False, f"{len(faults) - MOST:,} more {what} are faulty", "correct them as well")
    return [*faults[:MOST], rest]
