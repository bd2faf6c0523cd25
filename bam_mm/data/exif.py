"""Orientation of a photograph: how a camera was held, as Exif records it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection

import cv2
import numpy as np

ORIENTATION = 0x0112
"""Number of the tag."""

_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_BYTES = {3: 2, 4: 4}
"""Bytes of a value of the types that hold small integers, SHORT and LONG."""


def read_tags(tiff: bytes, wanted: Collection[int]) -> dict[int, int]:
    """Read integer tags of the first directory of a TIFF file, or of Exif, which has its format.

    Args:
        tiff: Bytes that start with the byte order, ``II`` or ``MM``.
        wanted: Numbers of the tags.

    Returns:
        First value of each tag that is there. Tags of other types are left out, and so are all
        that follow a directory's damaged end.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    found: dict[int, int] = {}
    if order is None:
        return found
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag in wanted and kind in _BYTES and length:
                place = entry + 8
                if length * _BYTES[kind] > 4:  # the entry holds the place of its values
                    (place,) = struct.unpack_from(f"{order}I", tiff, place)
                (found[tag],) = struct.unpack_from(order + "HI"[kind - 3], tiff, place)
    except struct.error:  # beyond the end
        pass
    return found


def orientation_of(exif: bytes) -> int:
    r"""Return the orientation that Exif records, 1 to 8; 1 (upright) if it records none.

    Args:
        exif: Content of Exif, without the ``Exif\0\0`` with which it starts in JPEG.
    """
    orientation = read_tags(exif, (ORIENTATION,)).get(ORIENTATION, 1)
    return orientation if orientation in _TURN else 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn or mirror an image (H, W, C) so that it is upright.

    Args:
        image: Image as it is stored.
        orientation: Orientation in Exif, 1 to 8; from 5 on, height and width are exchanged.
    """
    turn = _TURN.get(orientation)
    return turn(image) if turn else image
