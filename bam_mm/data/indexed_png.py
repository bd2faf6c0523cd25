"""Indexed PNG files: one id per pixel, with a palette that shows the ids in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def voc_palette() -> list[int]:
    """Return the colours of PASCAL VOC, which DAVIS's annotations use as well.

    Returns:
        Flat list of red, green and blue from 0 to 255 for 256 ids: 0 is black, 1 dark red, 2 dark
        green, and so on.
    """
    ids = np.arange(256)
    colours = np.zeros((256, 3), int)
    # The bits of an id go to red, green and blue in turn, the lowest bits to the highest places.
    for bit in range(8):
        colours[:, bit % 3] |= ((ids >> bit) & 1) << (7 - bit // 3)
    return colours.ravel().tolist()


def write_indexed(path: str | Path, ids: np.ndarray, palette: list[int] | None = None) -> None:
    """Write an indexed PNG; the same ids and palette always produce the same bytes.

    Args:
        path: Path of the file to write.
        ids: (H, W) uint8 ids.
        palette: Flat list of red, green and blue per id; :func:`voc_palette` by default.
    """
    image = Image.fromarray(np.ascontiguousarray(ids, dtype=np.uint8), mode="P")
    image.putpalette(voc_palette() if palette is None else palette)
    image.save(path, format="PNG")
