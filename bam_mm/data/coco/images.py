"""Images of a COCO file: ids, names and sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bam_mm.data.coco.identifiers import listed_once, unify_ids
from bam_mm.data.coco.notes import Notes
from bam_mm.data.orientation import read_header
from bam_mm.errors import InputError

Size = tuple[int, int]
"""Width and height in pixels."""

SizeOf = Callable[[str], Size]
"""Function that returns the size of an image by its ``file_name``."""

LONGEST = 100_000
"""Longest side of an image in pixels."""

_MOST_PIXELS = 2**32
"""pycocotools counts the pixels of a mask in 32 bits."""


def check_images(
    content: dict[str, Any], place: str, notes: Notes, size_of: SizeOf | None
) -> dict[Any, Size]:
    """Check the images of a file, and change them in place where one reading is possible.

    Ids get one type, backslashes in names become slashes, missing sizes are read from the images,
    and an image twice in the list is kept once.

    Args:
        content: Content of the file.
        place: Path of the file, for messages.
        notes: Notes to add to.
        size_of: Function that returns the size of an image without ``width`` and ``height``; None
            if the images are not known.

    Returns:
        Size of each image by its id.

    Raises:
        InputError: If there is no image, one has no id, name or size, or two share an id.
    """
    entries: list[dict] = content["images"]
    if not entries:
        raise InputError(f"{place} has no image: list those that its annotations refer to")
    for index, entry in enumerate(entries):
        _check_name(entry, index, place, notes)
    unify_ids(entries, "images", place, notes)
    content["images"] = entries = listed_once(entries, "file_name", "images", place, notes)
    names = {entry["file_name"] for entry in entries}
    again = len(entries) - len(names)
    notes.add("images", "with the name of another and an id of their own", again)
    return {entry["id"]: _size(entry, place, notes, size_of) for entry in entries}


def header_size(folder: str | Path) -> SizeOf:
    """Make a function that reads the size of an image in a folder from the header of its file.

    Args:
        folder: Folder that the names of images are relative to.

    Returns:
        The function. The size is that after the rotation by Exif, as the image is loaded. It raises
        OSError if there is no image that can be read.
    """

    def size_of(name: str) -> Size:
        path = Path(folder) / name
        header = read_header(path)
        if header is None:
            raise _unreadable(path)
        height, width = header.upright
        return width, height

    return size_of


def _unreadable(path: Path) -> OSError:
    try:
        path.open("rb").close()
    except OSError as error:
        return error
    except ValueError as error:  # A zero byte in the name.
        return OSError(str(error))
    return OSError("its size is not found in its header")


def _check_name(entry: dict, index: int, place: str, notes: Notes) -> None:
    name = entry.get("file_name")
    if not isinstance(name, str):
        raise InputError(
            f"images[{index}] in {place} (id {entry.get('id')!r:.80}) has file_name {name!r:.80}: "
            "write the path of the image below the folder of images"
        )
    if "\\" in name:
        entry["file_name"] = name.replace("\\", "/")
        notes.add("images", "with backslashes in the name (read as slashes)")


def _size(entry: dict, place: str, notes: Notes, size_of: SizeOf | None) -> Size:
    width, height = entry.get("width"), entry.get("height")
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        width, height = _whole(width), _whole(height)
        if width is None or height is None:
            width, height = _read_size(entry, place, size_of)
            notes.add("images", "without width or height (read from the image)")
        else:
            notes.add("images", "with a width or height that is no integer")
        entry["width"], entry["height"] = width, height
    if max(width, height) > LONGEST or width * height >= _MOST_PIXELS:
        raise InputError(
            f"image {entry['id']!r} in {place} has {width!r:.40}x{height!r:.40} px, which is more "
            "than masks can have: correct its width and height"
        )
    return width, height


def _whole(value: Any) -> int | None:
    """Return a side that is written as a float or a text; None if it is none."""
    try:
        number = float(value) if type(value) in (int, float, str) else 0.0
    except (ValueError, OverflowError):
        return None
    return int(number) if number >= 1 and number.is_integer() else None


def _read_size(entry: dict, place: str, size_of: SizeOf | None) -> Size:
    fault = "the folder of images is not known"
    if size_of is not None:
        try:
            return size_of(entry["file_name"])
        except OSError as error:
            fault = f"the image cannot be read ({error.strerror or error})"
    raise InputError(
        f"image {entry['id']!r} ({entry['file_name']!r}) in {place} has width "
        f"{entry.get('width')!r:.40} and height {entry.get('height')!r:.40}, and {fault}: write "
        "both in pixels"
    )
