"""Checks that a data set is complete: counts against known sizes, with a remedy for each fault.

The checks only read folders; they build and download nothing. A new data set is one entry of
:data:`bam_mm.data.checks.known.KNOWN`, a list of checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bam_mm.data.file_names import is_hidden
from bam_mm.data.image_files import LeftOut, find_class_folders, find_images
from bam_mm.data.jpeg import START as JPEG_START
from bam_mm.data.jpeg import has_zeroed_part
from bam_mm.data.loading import read_image
from bam_mm.data.name_lists import read_names
from bam_mm.data.video import FaultyVideo, open_video
from bam_mm.errors import InputError, listing

_REPLACE = "replace the file, or delete it"


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        ok: Whether the check passed.
        text: Description of what was found.
        remedy: How to fix a fault; empty if there is none.
    """

    ok: bool
    text: str
    remedy: str = ""

    @classmethod
    def of(cls, error: InputError) -> Finding:
        """Return the fault that an error describes: its remedy follows the last colon.

        Args:
            error: Error of a check, as ``"<fault>: <remedy>"``.
        """
        text, colon, remedy = str(error).rpartition(": ")
        return cls(False, text, remedy) if colon else cls(False, remedy)


Check = Callable[[Path], Finding]


@dataclass(frozen=True)
class KnownData:
    """A data set of known size.

    Attributes:
        title: Name of the data set.
        source: Files to download and their address, used as the remedy for missing files.
        layouts: Checks of each layout in which the data set is distributed; all checks of one
            layout must pass.
    """

    title: str
    source: str
    layouts: tuple[tuple[Check, ...], ...]


def file(name: str, *, md5: str = "") -> Check:
    """Make a check that a file exists, with the checksum ``md5`` if it is not empty."""

    def check(root: Path) -> Finding:
        path = root / name
        if not path.is_file():
            return Finding(False, f"{path} is missing")
        if md5 and _md5(path) != md5:
            return Finding(False, f"{path} is damaged (its MD5 is not {md5})")
        return Finding(True, str(path))

    return check


def count(pattern: str, wanted: int, what: str = "images") -> Check:
    """Make a check that the expected number of entries matches a pattern."""

    def check(root: Path) -> Finding:
        found = sum(1 for path in root.glob(pattern) if not is_hidden(path))
        text = f"{found:,} of {wanted:,} {what} in {root}/{pattern}"
        return Finding(found == wanted, text)

    return check


def listed(list_file: str, wanted: int, image: str, column: Callable[[str], str]) -> Check:
    """Make a check that a list has its expected length, and that every image in it exists.

    Args:
        list_file: Path of the list in the data set, with one image per line. Lines that start with
            ``#`` are ignored.
        wanted: Expected number of images in the list.
        image: Path of an image in the data set, with ``{}`` in place of its name.
        column: Function that takes a line and returns the image's name.

    Returns:
        The check, which takes the data set's folder.
    """

    def check(root: Path) -> Finding:
        path = root / list_file
        if not path.is_file():
            return Finding(False, f"{path} is missing")
        lines = read_names(path)
        images = [image.format(column(line)) for line in lines if not line.startswith("#")]
        if len(images) != wanted:
            return Finding(False, f"{path} names {len(images):,} of {wanted:,} images")
        existing = _files_in({(root / name).parent for name in images})
        missing = [name for name in images if root / name not in existing]
        text = f"{wanted - len(missing):,} of {wanted:,} images of {path}"
        return Finding(not missing, text + (f" (missing: {listing(missing)})" if missing else ""))

    return check


def class_folders(split: str, classes: int, images: int) -> Check:
    """Make a check that a split has its expected numbers of class folders and images."""

    def check(root: Path) -> Finding:
        folder = root / split
        if not folder.is_dir():
            return Finding(False, f"{folder} is missing")
        try:
            counts, left_out = _count(folder)
        except InputError as error:
            return Finding.of(error)
        if not counts and left_out.loose:
            return Finding(
                False,
                f"{folder} has loose images instead of a folder per class",
                "sort them into class folders (ImageNet's devkit, or the well-known valprep.sh)",
            )
        empty = [name for name, number in counts.items() if not number]
        text = (
            f"{len(counts):,} of {classes:,} class folders and {sum(counts.values()):,} of "
            f"{images:,} images in {folder}"
        )
        if empty:
            text += f"; without an image: {listing(empty)}"
        return Finding(len(counts) == classes and sum(counts.values()) == images, text)

    return check


def sequences(split: str, wanted: int) -> Check:
    """Make a check that a DAVIS-2017 list has its expected number of videos, with all masks.

    Every video is opened as for scoring, which reads the headers of its files.
    """

    def check(root: Path) -> Finding:
        path = root / "ImageSets/2017" / f"{split}.txt"
        if not path.is_file():
            return Finding(False, f"{path} is missing")
        names = read_names(path)
        incomplete, faults = [], []
        for name in names:
            folders = (root / "JPEGImages/480p" / name, root / "Annotations/480p" / name)
            frames, masks = map(_stems, folders)
            if not frames or frames != masks:
                incomplete.append(f"{name} ({len(frames)} frames, {len(masks)} masks)")
                continue
            try:
                open_video(*folders, name=name, index=0)
            except FaultyVideo as error:
                faults.append(str(error))
        left = len(names) - len(incomplete) - len(faults)
        text = f"{left} of {wanted} sequences of {path}"
        if incomplete:
            text += f"; incomplete: {listing(incomplete)}"
        if faults:
            text += f"; faulty: {listing(faults, 3)}"
        faults += incomplete
        return Finding(len(names) == wanted and not faults, text)

    return check


def check_known(known: KnownData, root: str | Path) -> list[Finding]:
    """Check a data set of known size.

    Args:
        known: Known sizes and layouts of the data set.
        root: Folder of the data set.

    Returns:
        Findings of the layout with the smallest fraction of faults. Each fault has a remedy.
    """
    root = Path(root).expanduser()
    remedy = f"download {known.source} and unpack everything into {root}"
    if not root.is_dir():
        return [Finding(False, f"{root} does not exist", remedy)]
    results = [[check(root) for check in layout] for layout in known.layouts]
    best = min(results, key=lambda findings: sum(not f.ok for f in findings) / len(findings))
    return [f if f.ok or f.remedy else Finding(False, f.text, remedy) for f in best]


def check_folder(root: str | Path) -> list[Finding]:
    """Check your own image folders: ``root/<split>/<class>/<image>``.

    Args:
        root: Folder that contains ``train`` and ``val`` or ``test``; or splits of other names, of
            which the one with the most images is compared with the others.

    Returns:
        One finding per split, and one for each further split that compares its classes with those
        of the first split.
    """
    root = Path(root).expanduser()
    splits = [s for s in ("train", "val", "test") if (root / s).is_dir()] or _other_splits(root)
    if not splits:
        return [
            Finding(
                False,
                f"{root} has no folder train, val or test",
                f"arrange the images as {root}/train/<class>/<image> and {root}/val/<class>/...",
            )
        ]
    findings: list[Finding] = []
    classes: dict[str, set[str]] = {}
    for split in splits:
        try:
            counts, left_out = _count(root / split)
        except InputError as error:
            return [*findings, Finding.of(error)]
        classes[split] = set(counts)
        findings.append(_check_split(root / split, counts, left_out))
    if len(splits) == 1 and splits[0] not in ("val", "test"):
        missing = "val or test" if splits == ["train"] else f"but {splits[0]}"
        findings.append(
            Finding(
                False,
                f"{root} has no folder {missing} for evaluation",
                "move some images of each class there",
            )
        )
    for split in splits[1:]:
        only = {
            splits[0]: classes[splits[0]] - classes[split],
            split: classes[split] - classes[splits[0]],
        }
        faults = [
            f"only in {part}: {listing(sorted(names))}" for part, names in only.items() if names
        ]
        findings.append(
            Finding(
                not faults,
                f"classes of {splits[0]} and {split}: {'; '.join(faults) or 'the same'}",
                "use the same class folders in every split: labels follow their sorted names"
                if faults
                else "",
            )
        )
    return findings


def _other_splits(root: Path) -> list[str]:
    """Return the subfolders that have class folders with images, that with the most first."""
    sizes = {}
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir() and not is_hidden(folder):
            sizes[folder.name] = sum(_count(folder)[0].values())
    return sorted((name for name in sizes if sizes[name]), key=lambda name: (-sizes[name], name))


def check_images(paths: Sequence[Path], progress: Callable = iter) -> list[Finding]:
    """Decode every image, and look for damage that decoders do not report.

    Args:
        paths: Paths of the images.
        progress: Wrapper of the iteration, such as ``rich.progress.track``.

    Returns:
        One finding for each unreadable image, or a single finding that all images can be read.
    """
    faults = []
    for path in progress(paths):
        try:
            read_image(path, _REPLACE)
        except InputError as error:
            faults.append(Finding.of(error))
            continue
        data = path.read_bytes()
        if data.startswith(JPEG_START) and has_zeroed_part(data):
            text = f"{path} has zero bytes in place of a part of its pixels ({len(data)} bytes)"
            faults.append(Finding(False, text, _REPLACE))
    return faults or [Finding(True, f"all {len(paths):,} images can be read")]


def images_in(folder: Path) -> Iterator[Path]:
    """Iterate over all images below a folder that are not hidden, sorted by their paths."""
    return (folder / path for path in find_images(folder)[0])


def _count(folder: Path) -> tuple[dict[str, int], LeftOut]:
    """Count the images of each class of a split, and what is left out."""
    classes, left_out = find_class_folders(folder)
    counts = {}
    for name in classes:
        images, more = find_images(folder / name)
        counts[name] = len(images)
        left_out.add(more.below(name))
    return counts, left_out


def _check_split(folder: Path, counts: dict[str, int], left_out: LeftOut) -> Finding:
    if not counts:
        return Finding(
            False,
            f"{folder} has no class folders",
            "put the images of each class into a subfolder",
        )
    empty = [name for name, number in counts.items() if not number]
    text = (
        f"{len(counts):,} classes and {sum(counts.values()):,} images in {folder} "
        f"({min(counts.values())} to {max(counts.values())} per class)"
    )
    if empty:
        text += f"; without an image: {listing(empty)}"
    if left_out:
        text += f"; left out: {left_out.text()}"
    remedies = [
        "fill or delete the empty class folders" if empty else "",
        "put the images beside the class folders into one of them" if left_out.loose else "",
        "correct or delete the links" if left_out.dead or left_out.loops else "",
    ]
    remedy = ", ".join(filter(None, remedies))
    return Finding(not remedy, text, remedy)


def _files_in(folders: set[Path]) -> set[Path]:
    # One listing per folder is much faster than a query for each of 100,000 files.
    return {p for folder in folders if folder.is_dir() for p in folder.iterdir()}


def _stems(folder: Path) -> list[str]:
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted({p.stem for p in entries if not is_hidden(p)})


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
