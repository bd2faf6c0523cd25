"""Tiny photographs with Exif, and maps of every kind, as bytes of files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photograph(size=(6, 8), orientation=1, format="JPEG", **settings):
    """Encode an (H, W) image whose quarters differ, with an orientation in Exif."""
    height, width = size
    values = np.zeros((height, width, 3), np.uint8)
    values[: height // 2, : width // 2] = (200, 30, 60)
    values[height // 2 :, : width // 2] = (10, 220, 90)
    values[: height // 2, width // 2 :] = (40, 80, 240)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(values), format, exif=exif, **settings)


def encoded(image, format="PNG", **settings):
    """Encode a Pillow image, or an array, as a file of a format."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def png(ids, depth, colour=0, chunks=()):
    """Write a PNG by hand, as its samples of ``depth`` bits are stored.

    Args:
        ids: (H, W) or (H, W, C) samples.
        depth: Bits of a sample.
        colour: Colour type: 0 for grey, 2 for RGB, 4 for grey with opacity.
        chunks: Names and contents of further chunks before the pixels.
    """
    height, width = ids.shape[:2]
    rows = ids.reshape(height, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def bitmap(ids):
    """Write (H, W) ids of 8 bits as a BMP by hand, with a palette of only black and white."""
    width = -(-ids.shape[1] // 4) * 4
    rows = np.zeros((ids.shape[0], width), np.uint8)
    rows[:, : ids.shape[1]] = ids[::-1]
    header = struct.pack("<IiiHHIIiiII", 40, *ids.shape[::-1], 1, 8, 0, rows.size, 0, 0, 2, 2)
    start = struct.pack("<2sIHHI", b"BM", 62 + rows.size, 0, 0, 62)
    return start + header + b"\0\0\0\0\xff\xff\xff\0" + rows.tobytes()


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def palette(ids, colours=None):
    """Make an image with a palette whose indices are the ids."""
    image = Image.fromarray(ids, "P")
    if colours is None:
        colours = np.random.RandomState(0).randint(0, 256, 768)
    image.putpalette([int(value) for value in colours])
    return image
