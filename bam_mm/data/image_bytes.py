"""Files of images as bytes: their format, whether they are whole, and what they are if not images.

Decoders differ in what they do with a damaged file: some fill the missing rows with grey, and
others invent values for samples that do not fit into 8 bits. These checks look at headers alone, so
that they cost little and hold for every version of the decoders.
"""

from __future__ import annotations

import re
import struct

from bam_mm.data.exif import orientation_of, read_tags
from bam_mm.data.jpeg import START as JPEG_START
from bam_mm.data.jpeg import JpegHeader, is_cut, read_jpeg_header

PNG_START = b"\x89PNG\r\n\x1a\n"
GIF_STARTS = (b"GIF87a", b"GIF89a")
TIFF_STARTS = (b"II*\0", b"MM\0*")
_FLOAT_MAPS = (b"PF\n", b"Pf\n")
_BITS, _SAMPLE_FORMAT = 258, 339  # tags of TIFF
_SAMPLES = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_BLANK = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P[56]%b\d+%b\d+%b(\d+)\s" % (_BLANK, _BLANK, _BLANK))
_OTHERS = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer (git lfs pull fetches the file)"),
    (re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)", re.I | re.S),
     "a web page"),
    (re.compile(rb"\s*<(?:\?xml|svg)", re.I), "XML or SVG"),
    (re.compile(rb"\s*[\[{]\s*[\"\]{}]"), "JSON"),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.S), "HEIC"),
    (re.compile(rb"....ftyp", re.S), "a video"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
    (re.compile(rb"\x00\x05\x16\x07"), "an AppleDouble file of macOS"),
    (re.compile(rb"\0+\Z"), "nothing but zero bytes"),
    (re.compile(rb"\xff\xd8|\x89PNG|GIF8|BM|II\*\0|MM\0\*|P[1-6]\s|RIFF....WEBP", re.S),
     "damaged or truncated"),
)  # fmt: skip
"""What users find under the name of an image, by the start of the file."""


def fault_of(data: bytes, header: JpegHeader | None = None) -> str | None:
    """Return why a file must not be decoded, or None if its header shows no fault.

    Args:
        data: Bytes of the file.
        header: Header of a JPEG, if it is read already.

    Returns:
        End of a sentence that starts with the file's name.
    """
    if not data:
        return "is empty (0 bytes)"
    if data.startswith(JPEG_START):
        if is_cut(data, header or read_jpeg_header(data)):
            return f"is truncated ({len(data)} bytes, no JPEG end mark)"
        return None
    if _is_truncated(data):
        return f"is truncated ({len(data)} bytes)"
    return _fault_of_samples(data)


def describe(data: bytes) -> str | None:
    """Return what a file is that is no image, or None if it is not known."""
    return next((name for start, name in _OTHERS if start.match(data)), None)


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return height and width in pixels of a JPEG or PNG, or None if they are not recorded."""
    if data.startswith(JPEG_START):
        return read_jpeg_header(data).size
    if data.startswith(PNG_START) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    return None


def is_webp(data: bytes) -> bool:
    """Return whether a file is a WebP image."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def orientation_of_webp(data: bytes) -> int:
    """Return the orientation in the Exif of a WebP image, 1 to 8.

    Args:
        data: Bytes of a WebP file.
    """
    if data[12:16] != b"VP8X" or not data[20] & 8:  # the flag of Exif
        return 1
    place = 12
    while place + 8 <= len(data):
        kind, (length,) = data[place : place + 4], struct.unpack_from("<I", data, place + 4)
        if kind == b"EXIF":
            exif = data[place + 8 : place + 8 + length]
            return orientation_of(exif.removeprefix(b"Exif\0\0"))
        place += 8 + length + length % 2
    return 1


def largest_sample(data: bytes) -> int | None:
    """Return the value of white in a binary PGM or PPM file, or None for other files."""
    found = _PNM.match(data[:4096])
    return int(found[1]) if found else None


def _is_truncated(data: bytes) -> bool:
    try:
        if data.startswith(PNG_START):
            return _png_is_cut(data)
        if data.startswith(GIF_STARTS):
            return _gif_is_cut(data)
    except (IndexError, struct.error):  # beyond the end
        return True
    return is_webp(data) and len(data) < 8 + struct.unpack_from("<I", data, 4)[0]


def _png_is_cut(data: bytes) -> bool:
    place = len(PNG_START)
    while True:
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IEND":
            return False
        place += 12 + length


def _gif_is_cut(data: bytes) -> bool:
    place = 13 + _gif_palette(data[10])
    while data[place] in b"\x21\x2c":  # extensions and images
        is_image = data[place] == 0x2C
        place += 11 + _gif_palette(data[place + 9]) if is_image else 2
        while data[place]:  # blocks with their lengths
            place += 1 + data[place]
        place += 1
    return False


def _gif_palette(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _fault_of_samples(data: bytes) -> str | None:
    if data.startswith(_FLOAT_MAPS):
        return "has floating-point samples, whose range is unknown (it must have 8 or 16 bits)"
    if not data.startswith(TIFF_STARTS):
        return None
    tags = read_tags(data, (_BITS, _SAMPLE_FORMAT))
    bits, kind = tags.get(_BITS, 1), _SAMPLES.get(tags.get(_SAMPLE_FORMAT, 1), "integer")
    if bits <= 16 and kind == "integer":
        return None
    return f"has {bits}-bit {kind} samples, whose range is unknown (it must have 8 or 16 bits)"
