"""Opening of image files by Pillow, up to the size that OpenCV reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import RLock

from PIL import Image

MOST_PIXELS = 2**30
"""Number of pixels up to which images are opened, which is OpenCV's limit."""

_LOCK = RLock()
# Without this, a process that is forked while another thread opens an image would wait for ever.
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)


def open_image(source: str | Path | BytesIO, formats: Sequence[str] | None = None) -> Image.Image:
    """Open an image file and read its header.

    Pillow refuses files of more than 178 megapixels as an attack, and warns from half of it on.
    Aerial images are as large. The limit is raised while this file is opened; the one that a
    program has set for itself stays as it is.

    Args:
        source: Path of the file, or its bytes.
        formats: Pillow's names of the formats that are tried; all of them by default.

    Returns:
        The image, whose pixels are not decoded yet.

    Raises:
        OSError: If the file cannot be read, or is no image of these formats.
        PIL.Image.DecompressionBombError: If it has more than 2^30 pixels.
    """
    with _LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        # Pillow refuses images of more than twice its limit.
        Image.MAX_IMAGE_PIXELS = None if limit is None else max(limit, MOST_PIXELS // 2)
        try:
            return Image.open(source, formats=None if formats is None else list(formats))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def hides_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow reads the indices of a bitmap as one bit each, and loses all others.

    It does so for every BMP file with a palette of black and white, whatever its number of bits.

    Args:
        image: Opened image.
        data: Bytes of its file.
    """
    if image.format != "BMP" or image.mode != "1":
        return False
    # The number of bits follows width, height and planes, which are shorter in OS/2's header.
    place = 24 if int.from_bytes(data[14:18], "little") == 12 else 28
    return int.from_bytes(data[place : place + 2], "little") != 1
