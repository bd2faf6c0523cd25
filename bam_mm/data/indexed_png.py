"""Indexed PNG: one id a pixel, with the palette that shows it in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def voc_palette() -> list[int]:
    """Colours of PASCAL VOC, which DAVIS's annotations use as well.

    Returns:
        256 times red, green, blue in 0 to 255: id 0 is black, 1 dark red, 2 dark green, ...
    """
    ids = np.arange(256)
    colours = np.zeros((256, 3), int)
    # The bits of an id go in turn to red, green and blue, the lowest to the highest place.
    for bit in range(8):
        colours[:, bit % 3] |= ((ids >> bit) & 1) << (7 - bit // 3)
    return colours.ravel().tolist()


def read_indexed(path: str | Path) -> tuple[np.ndarray, list[int]]:
    """Read ids and palette.

    Args:
        path: An indexed PNG.

    Returns:
        (H, W) uint8 ids, and the palette as red, green, blue, one after the other.

    Raises:
        ValueError: If the image has no palette: its pixels are colours or grey levels, no ids.
        OSError: If the file is missing, damaged or no image.
    """
    with Image.open(path) as image:
        check_indexed(image, path)
        palette = image.getpalette()
        return np.asarray(image, dtype=np.uint8), palette


def check_indexed(image: Image.Image, path: str | Path) -> None:
    """Refuse an opened image without a palette; the header is enough.

    Raises:
        ValueError: If its mode is not P.
    """
    if image.mode != "P":
        raise ValueError(
            f"{path} has no palette (its mode is {image.mode}, not P): save one id a pixel as an "
            "indexed PNG, 0 for the background, as bam_mm.data.indexed_png.write_indexed does"
        )


def write_indexed(path: str | Path, ids: np.ndarray, palette: list[int] | None = None) -> None:
    """Write an indexed PNG; the same ids and palette give the same bytes.

    Args:
        path: File to write.
        ids: (H, W) uint8.
        palette: Red, green, blue, one after the other; ``voc_palette`` by default.
    """
    image = Image.fromarray(np.ascontiguousarray(ids, dtype=np.uint8), mode="P")
    image.putpalette(voc_palette() if palette is None else palette)
    image.save(path, format="PNG")
