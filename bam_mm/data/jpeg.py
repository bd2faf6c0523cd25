"""Header of a JPEG, and whether the file is whole."""

from __future__ import annotations

import struct
from typing import NamedTuple

from bam_mm.data.exif import orientation_of

START, END = b"\xff\xd8", b"\xff\xd9"
_SIZES = frozenset([0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
"""Markers of the segment with height and width, of the kinds that libjpeg decodes."""
_WITHOUT_LENGTH = frozenset([0x00, 0x01, *range(0xD0, 0xD9), 0xFF])
_SEGMENT = struct.Struct(">BBH").unpack_from
_SIZE = struct.Struct(">HH").unpack_from
_SEQUENTIAL = frozenset([0xC0, 0xC1])
_TABLES = 0xC4
_HOLE = bytes(512)
_END, _SCAN, _EXIF = 0xD9, 0xDA, 0xE1


class JpegHeader(NamedTuple):
    """What precedes the pixels of a JPEG.

    Attributes:
        size: Height and width of the stored image in pixels, or None if they are not recorded or
            the image is of a kind that libjpeg does not decode, such as 12 bits a sample.
        orientation: Orientation in Exif, 1 to 8.
        scan: Place of the first coded pixels in the file, or None if there are none.
        cut: Whether the file ends within the header.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    scan: int | None = None
    cut: bool = False

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape (H, W, 3) of the upright image, or None if there are no pixels to decode."""
        if self.size is None or self.scan is None or 0 in self.size:
            return None
        height, width = self.size
        return (width, height, 3) if self.orientation >= 5 else (height, width, 3)


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the header of a JPEG.

    Segments are passed by their length, so that an embedded thumbnail, which is a JPEG as well, is
    not looked at.

    Args:
        data: Bytes of the file.
    """
    size, orientation, place = None, None, len(START)
    try:
        while True:
            mark, kind, length = _SEGMENT(data, place)
            if mark != 0xFF or kind in _WITHOUT_LENGTH:
                place = _next_marker(data, place)
                continue
            if kind == _SCAN:
                return JpegHeader(size, orientation or 1, place + 2 + length)
            if kind in _SIZES and data[place + 4] == 8:  # bits a sample
                size = _SIZE(data, place + 5)
            elif kind == _EXIF and orientation is None and data[place + 4 : place + 8] == b"Exif":
                orientation = orientation_of(data[place + 10 : place + 2 + length])
            elif kind == _END:
                return JpegHeader(size, orientation or 1)
            place += 2 + length
    except (struct.error, IndexError):  # beyond the end
        ended = data.endswith(END) and place <= len(data) - 2
        return JpegHeader(size, orientation or 1, cut=not ended)


def _next_marker(data: bytes, place: int) -> int:
    """Return the place of the next byte that may start a segment, as libjpeg looks for it."""
    if data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xff":
        place += 2  # a marker without a length
    elif data[place : place + 1] == b"\xff":
        place += 1  # any number of 0xFF may precede a marker
    found = data.find(b"\xff", place)
    return len(data) if found < 0 else found


def jpeg_shape(data: bytes) -> tuple[int, int, int] | None:
    """Return the shape (H, W, 3) of the upright image of a JPEG, or None for other files.

    Args:
        data: Bytes of the file.
    """
    return read_jpeg_header(data).shape if data.startswith(START) else None


def is_cut(data: bytes, header: JpegHeader) -> bool:
    """Return whether a JPEG ends before its end mark.

    The coded pixels never hold the two bytes of the end mark, so it is the first such pair in
    them. Whatever follows it (the video of a motion photo, further images, padding) does not
    matter. The search is from the end of the file, where the mark usually is.

    Args:
        data: Bytes of the file.
        header: Its header.
    """
    if header.scan is None:
        return header.cut
    return data.rfind(END, header.scan) < 0


def has_zeroed_part(data: bytes) -> bool:
    """Return whether zero bytes replace a part of the coded pixels, as after a broken download.

    Decoders return invented pixels for such a part. It is recognised in files of one scan unless
    zero bits alone are the code of a flat part.

    Args:
        data: Bytes of a whole JPEG.
    """
    flat, channels, place = [], None, len(START)
    try:
        while True:
            mark, kind, length = _SEGMENT(data, place)
            if mark != 0xFF or kind in _WITHOUT_LENGTH:
                place = _next_marker(data, place)
                continue
            if kind == _END or kind in _SIZES - _SEQUENTIAL:
                return False
            if kind in _SEQUENTIAL:
                channels = data[place + 9]
            elif kind == _TABLES:
                flat += _zeros_end_a_block(data[place + 4 : place + 2 + length])
            elif kind == _SCAN:
                if all(flat) or data[place + 4] != channels:
                    return False
                place += 2 + length
                return data.find(_HOLE, place, data.find(END, place)) >= 0
            place += 2 + length
    except (struct.error, IndexError):  # beyond the end
        return False


def _zeros_end_a_block(tables: bytes) -> list[bool]:
    """Return whether the code of zero bits is the end of a block, in each table of AC codes."""
    found, place = [], 0
    while place < len(tables):
        if tables[place] >> 4:
            found.append(tables[place + 17] == 0)
        place += 17 + sum(tables[place + 1 : place + 17])
    return found
