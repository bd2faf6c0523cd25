"""Orientation of photographs in Exif, and which of their pixels an annotation belongs to.

A camera stores the pixels as its sensor reads them, and notes in Exif how to turn them. Loaders
turn them; some annotation tools do not. Everything here is read from the header of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bam_mm.data.exif import ORIENTATION, orientation_of, upright
from bam_mm.data.opening import open_image
from bam_mm.errors import InputError

Size = tuple[int, int]

AUTO, STORED, UPRIGHT = CHOICES = ("auto", "stored", "upright")
"""Values of the option ``orientation``: what decides where sizes do not tell."""

_PUBLISHED = re.compile(
    r"([^/]*/)?ADE_(train|val)_[0-9]{8}\.jpg"  # ADE20K
    r"|instances_[^/]*2017[^/]*\.json/[0-9]{12}\.jpg"  # COCO
)
_ACROSS = (5, 6, 7, 8)
_INVERSE = {6: 8, 8: 6}


@dataclass(frozen=True)
class Header:
    """What the header of an image file says.

    Attributes:
        stored: (H, W) of the stored pixels.
        orientation: Exif orientation, 1 to 8; 1 if there is none.
        format: Pillow's name of the file format, such as ``JPEG``.
    """

    stored: Size
    orientation: int
    format: str

    @property
    def upright(self) -> Size:
        """(H, W) of the pixels after their rotation according to Exif."""
        height, width = self.stored
        return (width, height) if self.orientation in _ACROSS else (height, width)


def exif_orientation(image: Image.Image) -> int:
    """Return the Exif orientation of an opened image, 1 to 8; 1 if there is none."""
    if image.format == "TIFF":
        found = image.tag_v2.get(ORIENTATION, 1)  # type: ignore[attr-defined]
        return found if found in range(1, 9) else 1
    # Pillow's own reading also accepts XMP and numbers of other types, which decoders ignore.
    return orientation_of(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))


def _orientation_or_1(image: Image.Image) -> int:
    try:
        return exif_orientation(image)
    except Exception:  # Loaders ignore damaged Exif data.
        return 1


def read_header(path: str | Path) -> Header | None:
    """Read size and orientation of an image file without decoding it.

    Args:
        path: Path of the file.

    Returns:
        The header; None if Pillow cannot read it, so that the loader decides about the file.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            orientation = _orientation_or_1(image)
            # Pillow names the size of a TIFF after its rotation.
            if image.format == "TIFF" and orientation in _ACROSS:
                width, height = height, width
            return Header((height, width), orientation, str(image.format))
    except Exception:
        return None


def is_published(image: str | Path, annotations: str | Path = "") -> bool:
    """Return whether an image is one of ADE20K or COCO 2017, by the names of its files.

    Published numbers on these data sets, and on parts of them, are those of upright pixels.

    Args:
        image: Path of the image.
        annotations: Path of the instance file, if there is one.
    """
    names = [Path(path).name for path in (annotations, image) if str(path)]
    return _PUBLISHED.fullmatch("/".join(names)) is not None


def turn(image: np.ndarray, orientation: int, *, back: bool = False) -> np.ndarray:
    """Turn the stored pixels of an image upright, or upright ones back to the stored ones.

    Args:
        image: Image (H, W) or (H, W, C).
        orientation: Exif orientation, 2 to 8.
        back: Whether the image is upright.
    """
    return upright(image, _INVERSE.get(orientation, orientation) if back else orientation)


def size_text(size: Size) -> str:
    """Return an (H, W) size for messages, such as ``640x480``: width first, as in file managers."""
    return f"{size[1]}x{size[0]}"


def choose_pixels(
    header: Header, annotated: Size | None, choice: str, *, path: str, source: str
) -> str:
    """Decide which pixels of an image an annotation belongs to.

    If only the stored or only the upright pixels have the size of the annotation, these are the
    ones. If both have it, as with a half turn, a mirrored or a square image, ``choice`` decides.

    Args:
        header: Header of the image file.
        annotated: (H, W) of the annotation; None if it is unknown.
        choice: ``stored``, ``upright``, or ``auto`` to raise an error where sizes do not tell.
        path: Path of the image, for messages.
        source: Annotation, for messages, such as ``its map a.png``.

    Returns:
        ``stored`` or ``upright``. Both are the same pixels if there is no Exif orientation.

    Raises:
        InputError: If neither has the size of the annotation, or sizes do not tell.
    """
    fits = [
        frame
        for frame, size in ((STORED, header.stored), (UPRIGHT, header.upright))
        if annotated in (None, size)
    ]
    if not fits:
        raise InputError(mismatch(header.upright, annotated, path=path, source=source))
    if len(fits) == 1 or header.orientation == 1:
        return fits[-1]
    if choice == AUTO:
        raise InputError(
            f"{path} has Exif orientation {header.orientation}, and its size does not tell whether "
            f"{source} belongs to the pixels as stored or as turned upright: set --cfg-options "
            f"orientation={STORED} or orientation={UPRIGHT}"
        )
    return choice


def mismatch(size: Size, annotated: Any, *, path: str, source: str) -> str:
    """Return the message for an image whose annotation has another size."""
    swapped = " (the sides are swapped)" if annotated == size[::-1] else ""
    return (
        f"{path} has {size_text(size)} px, but {source} is for {size_text(annotated)} px{swapped}: "
        "restore the image that was annotated, or bring its annotation to the same size"
    )
