"""Checks of detection and segmentation data: annotation files, images and label maps."""

from __future__ import annotations

from pathlib import Path

from bam_mm.data.checks.folders import Check, Finding
from bam_mm.data.coco.reader import read_instances
from bam_mm.data.file_names import is_hidden
from bam_mm.errors import InputError, listing


def instances(ann_file: str, folder: str, images: int, categories: int) -> Check:
    """Make a check of an instance file: its numbers of images and categories, and its image files.

    Args:
        ann_file: Path of the COCO instance JSON file in the data set.
        folder: Folder of its images in the data set.
        images: Expected number of images in the file.
        categories: Expected number of categories in the file.

    Returns:
        The check, which takes the data set's folder.
    """

    def check(root: Path) -> Finding:
        path = root / ann_file
        if not path.is_file():
            return Finding(False, f"{path} is missing")
        try:
            found = read_instances(path, root / folder)
        except InputError as error:
            return Finding(False, str(error))
        names = [entry["file_name"] for entry in found.content["images"]]
        known = found.content["categories"]
        existing = {p.name for p in (root / folder).glob("*")}
        missing = [name for name in names if name not in existing]
        text = (
            f"{len(names):,} of {images:,} images and {len(known)} of {categories} categories in "
            f"{path}; {len(names) - len(missing):,} of the images in {root / folder}"
        )
        if missing:
            text += f" (missing: {listing(missing)})"
        if found.notes:
            text += f"; {found.notes}"
        ok = not missing and (len(names), len(known)) == (images, categories)
        return Finding(ok, text)

    return check


def maps(images: str, annotations: str, wanted: int) -> Check:
    """Make a check that a folder has its expected images, each with a map in another folder.

    Args:
        images: Folder of the images in the data set, ``.jpg`` files.
        annotations: Folder of the maps in the data set, ``.png`` files with the same names.
        wanted: Expected number of images and of maps.

    Returns:
        The check, which takes the data set's folder.
    """

    def check(root: Path) -> Finding:
        shown = {p.stem for p in (root / images).glob("*.jpg") if not is_hidden(p)}
        labelled = {p.stem for p in (root / annotations).glob("*.png") if not is_hidden(p)}
        without = sorted(shown - labelled)
        text = (
            f"{len(shown):,} of {wanted:,} images in {root / images}, {len(shown & labelled):,} "
            f"with a map in {root / annotations}"
        )
        if without:
            text += f" (without a map: {listing(without)})"
        return Finding(len(shown) == wanted and shown == labelled, text)

    return check
