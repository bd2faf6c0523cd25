"""Images below a folder, and a count of everything that is not read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bam_mm.data.file_names import IMAGE_ENDINGS, is_hidden
from bam_mm.errors import InputError, listing


@dataclass
class LeftOut:
    """What is not read, counted.

    Attributes:
        hidden: Number of hidden files and folders; what a hidden folder holds is not counted.
        others: Number of files by their ending, in lower case; "" stands for none.
        folders: Number of folders where only files count.
        loose: Number of images where only folders count.
        dead: Paths of links to places that do not exist.
        loops: Paths of links to a folder that contains them.
    """

    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)
    folders: int = 0
    loose: int = 0
    dead: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text())

    def add(self, more: LeftOut) -> None:
        """Add the counts of another folder."""
        self.hidden += more.hidden
        self.others += more.others
        self.folders += more.folders
        self.loose += more.loose
        self.dead += more.dead
        self.loops += more.loops

    def below(self, name: str) -> LeftOut:
        """Return the same counts, with the paths of links relative to the folder above."""
        dead, loops = ([os.path.join(name, p) for p in paths] for paths in (self.dead, self.loops))
        return replace(self, dead=dead, loops=loops)

    def text(self) -> str:
        """Return the counts in words, such as ``3 hidden, 2 .txt``; empty if nothing is left out.

        The links come first, because they are faults.
        """
        parts = []
        for paths, name in ((self.dead, "dead link"), (self.loops, "looped link")):
            if paths:
                parts.append(f"{_number(len(paths), name)} (first: {min(paths)})")
        if self.loose:
            parts.append(f"{_number(self.loose, 'image')} outside of the class folders")
        if self.folders:
            parts.append(_number(self.folders, "subfolder"))
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden")
        known = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        if known:
            names = (f"{number:,} {ending or 'without an ending'}" for ending, number in known)
            parts.append(listing(names, 8))
        return ", ".join(parts)


def find_images(
    folder: str | Path, endings: Sequence[str] = IMAGE_ENDINGS
) -> tuple[list[str], LeftOut]:
    """Find the images below a folder.

    Links to files and folders are followed. Hidden files and folders are left out.

    Args:
        folder: Folder to search.
        endings: Endings of the images, in lower case.

    Returns:
        Paths relative to the folder, sorted by their characters, and what was left out.

    Raises:
        InputError: If a folder cannot be listed.
    """
    return _find(str(folder), tuple(endings), _is_hidden)


def find_files(folder: str | Path) -> tuple[list[str], LeftOut]:
    """Find all files below a folder, as mmengine does: also in hidden folders.

    Links to files and folders are followed. Files named ``.NAME`` are left out.

    Args:
        folder: Folder to search.

    Returns:
        Paths relative to the folder, sorted by their characters, and what was left out.

    Raises:
        InputError: If a folder cannot be listed.
    """
    return _find(str(folder), ("",), _is_dotted_file)


def images_directly_in(
    folder: str | Path, endings: Sequence[str] = IMAGE_ENDINGS
) -> tuple[list[str], LeftOut]:
    """Find the images directly in a folder, and count its subfolders as left out.

    The arguments, results and errors are those of :func:`find_images`.
    """
    left_out = LeftOut()
    names = []
    for entry in _entries(str(folder)):
        if is_hidden(entry.name):
            left_out.hidden += 1
        elif _is(entry, "dir"):
            left_out.folders += 1
        elif _is_image(entry, tuple(endings)):
            names.append(entry.name)
        else:
            _count_other(entry, entry.name, left_out)
    return sorted(names), left_out


def find_class_folders(
    folder: str | Path, endings: Sequence[str] = IMAGE_ENDINGS
) -> tuple[list[str], LeftOut]:
    """Find the class folders of a folder.

    Args:
        folder: Folder of a split.
        endings: Endings of the images, in lower case.

    Returns:
        Names of the folders that are not hidden, sorted by their characters, and what else was
        found beside them.

    Raises:
        InputError: If the folder cannot be listed, or a link in it points to no place or to a
            folder that contains it, because a class might be missing.
    """
    left_out = LeftOut()
    names, faulty = [], []
    here = os.path.realpath(folder)
    for entry in _entries(str(folder)):
        if is_hidden(entry.name):
            left_out.hidden += 1
        elif _is(entry, "dir"):
            names.append(entry.name)
            if entry.is_symlink() and _contains(os.path.realpath(entry.path), here):
                faulty.append((entry.name, "a folder that contains it"))
        elif _is_image(entry, tuple(endings)):
            left_out.loose += 1
        else:
            _count_other(entry, entry.name, left_out)
    known = tuple(endings)
    faulty += [(n, "no place") for n in left_out.dead if not n.lower().endswith(known)]
    if faulty:
        name, target = min(faulty)
        raise InputError(
            f"{Path(folder) / name} is a link to {target}: correct or delete it, because a class "
            "might be missing"
        )
    return sorted(names), left_out


def _find(
    top: str, endings: tuple[str, ...], hidden: Callable[[os.DirEntry[str]], bool]
) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    return sorted(_walk(top, "", endings, left_out, (os.path.realpath(top),), hidden)), left_out


def _walk(
    root: str,
    below: str,
    endings: tuple[str, ...],
    left_out: LeftOut,
    above: tuple[str, ...],
    hidden: Callable[[os.DirEntry[str]], bool],
) -> Iterator[str]:
    """Iterate over the images below a folder.

    Args:
        root: Folder of the search.
        below: Path of the folder, relative to ``root``.
        endings: Endings of the images.
        left_out: Counts to add to.
        above: Real paths of ``root`` and, for each link on the way to the folder, of the folder
            that holds it and of its target.
        hidden: Whether an entry is left out without being looked at.
    """
    here = os.path.join(root, below) if below else root
    for entry in _entries(here):
        path = os.path.join(below, entry.name)
        if hidden(entry):
            left_out.hidden += 1
        elif _is(entry, "dir"):
            passed = above
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if any(_contains(target, place) for place in (*above, os.path.realpath(here))):
                    left_out.loops.append(path)
                    continue
                # The way up from the link counts, too: two folders may hold links to each other.
                passed = (*above, os.path.realpath(here), target)
            yield from _walk(root, path, endings, left_out, passed, hidden)
        elif _is_image(entry, endings):
            yield path
        else:
            _count_other(entry, path, left_out)


def _count_other(entry: os.DirEntry[str], path: str, left_out: LeftOut) -> None:
    if entry.is_symlink() and not os.path.exists(entry.path):
        left_out.dead.append(path)
    else:
        left_out.others[os.path.splitext(entry.name)[1].lower()] += 1


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be listed ({error.strerror}): allow reading it, or take it "
            "out of the data"
        ) from error


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:  # a link to itself
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return is_hidden(entry.name)


def _is_dotted_file(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") and not _is(entry, "dir")


def _is_image(entry: os.DirEntry[str], endings: tuple[str, ...]) -> bool:
    return entry.name.lower().endswith(endings) and _is(entry, "file")


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _number(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count > 1)}"
