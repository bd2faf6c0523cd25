"""Names of files: which are images, which no user put there, and in which order they are read."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

IMAGE_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".ppm",
    ".pgm",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
)
"""Endings of image files, in lower case; the case of a file's ending does not matter."""

_SYSTEM_NAMES = frozenset({"@eadir", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})
_DIGITS = re.compile(r"([0-9]+)")


def is_hidden(path: str | PurePath) -> bool:
    """Return whether a file or folder was put there by a system rather than by a user.

    These are names that start with a dot (``.DS_Store``, ``._photo.jpg`` of macOS,
    ``.ipynb_checkpoints`` of Jupyter) and those of Windows and of network drives (``Thumbs.db``,
    ``@eaDir``, ``__MACOSX``). Only the last part of the path counts.
    """
    name = os.path.basename(os.fspath(path).rstrip(os.sep))
    return (name.startswith(".") and name != ".") or name.lower() in _SYSTEM_NAMES


def natural_key(name: str | PurePath) -> tuple:
    """Return a sorting key under which numbers in names count by value.

    ``frame2.jpg`` comes before ``frame10.jpg``. Names of equal numbers (``1.jpg``, ``01.jpg``)
    follow in the order of their characters, so that the order never depends on the file system.

    Args:
        name: Name or path, compared as a whole.
    """
    text = str(name)
    parts = _DIGITS.split(text)
    # Even places hold text and odd places digits, so that a comparison never mixes types.
    key = tuple(int(part) if index % 2 else part for index, part in enumerate(parts))
    return (key, text)
