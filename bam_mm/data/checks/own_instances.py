"""Checks of your own detection data: COCO instance files and their images."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bam_mm.data.checks.folders import Finding
from bam_mm.data.coco.document import read_document
from bam_mm.data.coco.images import header_size
from bam_mm.data.coco.reader import InstanceFile, check_instances
from bam_mm.data.file_names import is_hidden, natural_key
from bam_mm.errors import InputError, listing


def check_own_instances(root: str | Path) -> list[Finding]:
    """Check the COCO instance files of a folder, and that their categories have the same names.

    Args:
        root: Folder with instance files in it or in its subfolders, or one such file. Images are
            searched for in the folder and its subfolders.

    Returns:
        Findings of each file, and one for each further file that compares its categories with those
        of the first. Each fault has a remedy.
    """
    root = Path(root).expanduser()
    files = [root] if root.is_file() else _files_in(root)
    if not files:
        remedy = "export the annotations as COCO, as FOLDER/annotations/instances_train.json"
        return [Finding(False, f"{root} has no instance file (*.json)", remedy)]
    findings: list[Finding] = []
    names: dict[Path, set[str]] = {}
    for path in files:
        folder = root.parent if root.is_file() else root
        try:
            content = read_document(path)
            images = folder_of_images(folder, path, content)
            size_of = None if images is None else header_size(images)
            # Every annotation is looked at, not a sample as at the start of a run.
            found = check_instances(content, str(path), size_of, most=sys.maxsize)
        except InputError as error:
            findings.append(Finding.of(error))
            continue
        names[path] = {entry["name"] for entry in found.content["categories"]}
        findings += _findings(path, found, images)
    return findings + _compare(names)


def _files_in(root: Path) -> list[Path]:
    found = [p for p in root.rglob("*.json") if not is_hidden(p)] if root.is_dir() else []
    return sorted(found, key=natural_key)


def folder_of_images(root: Path, path: Path, content: dict[str, Any]) -> Path | None:
    """Return the folder of a file's images: one that has the first, if possible of the same name.

    Several splits may have images of the same names.
    """
    folders = [root, *(p for p in root.rglob("*") if p.is_dir() and not is_hidden(p))]
    folders.sort(key=lambda p: (p.name not in path.stem, natural_key(p)))
    names = [entry.get("file_name") for entry in content["images"][:3]]
    for name in (name.replace("\\", "/") for name in names if isinstance(name, str)):
        for folder in folders:
            if (folder / name).is_file():
                return folder
    return None


def _findings(path: Path, found: InstanceFile, images: Path | None) -> list[Finding]:
    content = found.content
    counts = Counter(annotation["category_id"] for annotation in content["annotations"])
    empty = [entry["name"] for entry in content["categories"] if not counts[entry["id"]]]
    text = (
        f"{len(content['images']):,} images, {len(content['annotations']):,} annotations and "
        f"{len(content['categories'])} categories in {path}"
    )
    if empty:
        text += f"; without an annotation: {listing(empty)}"
    if found.notes:
        text += f"; {found.notes}"
    masks = found.counts.all
    if masks.number:
        text += f"; {masks.number:,} without a usable mask, the first: {masks.first}"
    known = [] if images is None else [images / e["file_name"] for e in content["images"]]
    missing = [file for file in known if not file.is_file()]
    if images is None or missing:
        first = missing[0] if missing else content["images"][0]["file_name"]
        number = len(missing) or len(content["images"])
        fault = f"{number:,} images of {path} are missing, the first: {first}"
        remedy = "restore them, or correct file_name, which is relative to the folder of images"
        return [Finding(True, text), Finding(False, fault, remedy)]
    return [Finding(True, f"{text}; images in {images}")]


def _compare(names: dict[Path, set[str]]) -> list[Finding]:
    findings = []
    paths = list(names)
    for path in paths[1:]:
        only = {p: names[p] - names[q] for p, q in ((paths[0], path), (path, paths[0]))}
        faults = [f"only in {p.name}: {listing(sorted(each))}" for p, each in only.items() if each]
        findings.append(
            Finding(
                not faults,
                f"categories of {paths[0].name} and {path.name}: {'; '.join(faults) or 'the same'}",
                "list the same names in every file; their ids and order may differ"
                if faults
                else "",
            )
        )
    return findings
