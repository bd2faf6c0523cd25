"""Files of a video: its frames in order, and the annotation of each frame."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bam_mm.data.file_names import IMAGE_ENDINGS, is_hidden, natural_key
from bam_mm.errors import listing

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Endings of annotations, of which the first one that occurs is read."""

_NUMBER = re.compile(r"[0-9]+")


def frame_files(folder: Path) -> tuple[list[Path], list[str]]:
    """List the frames of a video in order.

    Numbers in names count by value, so that ``frame2.jpg`` comes before ``frame10.jpg``. Of several
    files with the same name and different endings, one is a frame: the JPEG, or else the first.

    Args:
        folder: Folder of the frames.

    Returns:
        Paths of the frames, and notes on files that are left out.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in (path for path in folder.iterdir() if not is_hidden(path)):
        is_image = path.suffix.lower() in IMAGE_ENDINGS and path.is_file()
        (images if is_image else others).append(path)
    notes = [f"no frames: {listing(sorted(path.name for path in others), 3)}"] if others else []
    frames = _one_of_each(images, IMAGE_ENDINGS)
    if len(frames) < len(images):
        doubles = len(images) - len(frames)
        endings = sorted({path.suffix for path in images} - {path.suffix for path in frames})
        notes.append(
            f"{doubles} files with the name of another frame left out ({' '.join(endings)})"
        )
    return sorted(frames, key=lambda path: natural_key(path.stem)), notes


def annotation_files(folder: Path, frames: Sequence[Path]) -> tuple[list[Path | None], list[str]]:
    """Find the annotation of each frame.

    Annotations have the names of their frames. If no name agrees, the last number in each name
    identifies the frame (``frame_00012.jpg`` and ``12.png``, or ``mask-12.png``).

    Args:
        folder: Folder of the annotations.
        frames: Paths of the frames, in order.

    Returns:
        Path of the annotation of each frame or None, and notes on how they were found.
    """
    entries = [p for p in folder.iterdir() if not is_hidden(p)] if folder.is_dir() else []
    masks = _one_of_each((p for p in entries if p.suffix.lower() in MASK_ENDINGS), MASK_ENDINGS)
    named = {mask.stem: mask for mask in masks}
    found = [named.get(frame.stem) for frame in frames]
    if any(found) or not masks:
        return found, []
    numbered = _by_number(masks)
    numbers = _by_number(frames)
    if (
        len(numbered) < len(masks)
        or len(numbers) < len(frames)
        or not set(numbered) <= set(numbers)
    ):
        return found, []
    order = {frame: number for number, frame in numbers.items()}
    found = [numbered.get(order[frame]) for frame in frames]
    example = next((f.name, m.name) for f, m in zip(frames, found, strict=True) if m is not None)
    return found, [f"annotations found by the numbers in names, as {' and '.join(example)}"]


def _one_of_each(paths: Iterable[Path], endings: Sequence[str]) -> list[Path]:
    """Keep one of the files that differ only in their endings."""
    chosen: dict[str, Path] = {}
    for path in sorted(paths, key=lambda p: (endings.index(p.suffix.lower()), p.name)):
        chosen.setdefault(path.stem, path)
    return list(chosen.values())


def _by_number(paths: Sequence[Path]) -> dict[int, Path]:
    """Return paths by the last number in their names; fewer than paths if numbers are missing."""
    numbers = [(_NUMBER.findall(path.stem), path) for path in paths]
    return {int(found[-1]): path for found, path in numbers if found}
