"""Check of the folders of images and maps that mmseg pairs by the endings of their names."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log

from bam_mm.data.file_names import IMAGE_ENDINGS, is_hidden
from bam_mm.data.image_files import find_files
from bam_mm.errors import InputError, listing


def loader_key(part: str) -> str:
    """Return the key of a loader in a config: of ``train``, ``val``, ``test`` or ``bank``."""
    return "test_cfg.bank" if part == "bank" else f"{part}_dataloader"


def check_endings(images: Path, maps: Path | None, endings: tuple[str, str], part: str) -> None:
    """Check that no image is left out because of its ending, and that maps have the expected one.

    mmseg reads the images that end in ``img_suffix``, case counts, and silently leaves out others.

    Args:
        images: Folder of images, with any folders in it.
        maps: Folder of maps with the same names; None if there are no maps.
        endings: ``img_suffix`` and ``seg_map_suffix`` of the data set.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If no image has the ending, an image with a map has another one, all maps have
            another one, a link leads back to a folder that contains it, or mmseg would read a file
            that a system put there.
    """
    ending, map_ending = endings
    names = [
        name for name in files_below(images) if not name.endswith(map_ending) or maps != images
    ]
    read = [name for name in names if name.endswith(ending)]
    hidden = [name for name in read if any(is_hidden(part) for part in Path(name).parts)]
    option = f"{loader_key(part)}.dataset"
    if hidden:
        raise InputError(
            f"{images / hidden[0]} was put there by a system, and would be read as an image: "
            f"delete {(images / hidden[0]).parent} ({len(hidden)} such files)"
        )
    others = [n for n in names if _is_image(n) and not n.endswith(ending)]
    if not read and others:
        raise InputError(
            f"no image in {images} ends in {ending!r}, it has {_counted(others)}: set "
            f"--cfg-options {option}.img_suffix={_endings_by_number(others)[0][0]}"
        )
    if maps is None:
        return
    labelled = set(files_below(maps))
    without_ending = [n for n in others if os.path.splitext(n)[0] + map_ending in labelled]
    if without_ending:
        raise InputError(
            f"{len(without_ending)} images with a map in {images} do not end in {ending!r} "
            f"({_counted(without_ending)}), so mmseg leaves them out: convert or rename them, or "
            "remove their maps"
        )
    if others:
        print_log(
            f"{len(others)} files in {images} are left out ({_counted(others)}): they do not end "
            f"in {ending!r}, and have no map",
            logger="current",
            level=logging.WARNING,
        )
    stems = [name.removesuffix(ending) for name in read]
    if read and not any(stem + map_ending in labelled for stem in stems):
        found = next((n for n in sorted(labelled) if n.startswith(stems[0])), None)
        if found is not None:
            raise InputError(
                f"no map in {maps} ends in {map_ending!r} ({images / read[0]} has {found}): set "
                f"--cfg-options {option}.seg_map_suffix={found.removeprefix(stems[0])}"
            )


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it, except those named ``.NAME``.

    Raises:
        InputError: If a link points to a folder that contains it, which mmseg would follow for
            ever, or a folder cannot be listed.
    """
    if not folder.is_dir():
        return []
    files, left_out = find_files(folder)
    if left_out.loops:
        raise InputError(
            f"{folder / min(left_out.loops)} is a link to a folder that contains it, and mmseg "
            "would read its images again and again: delete it"
        )
    return files


def _is_image(name: str) -> bool:
    shown = not any(is_hidden(part) for part in Path(name).parts)
    return shown and name.lower().endswith(IMAGE_ENDINGS)


def _counted(names: Iterable[str]) -> str:
    return listing(f"{number} {ending}" for ending, number in _endings_by_number(names))


def _endings_by_number(names: Iterable[str]) -> list[tuple[str, int]]:
    counts = Counter(Path(name).suffix for name in names)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
