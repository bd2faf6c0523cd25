"""Small images of many kinds as bytes of files."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

Y, X = np.mgrid[:16, :24]
RGB = np.stack([X * 255 // 23, Y * 255 // 15, 255 - X * 255 // 23], -1).astype(np.uint8)
"""(16, 24, 3) uint8 RGB pixels, other ones in each corner."""
GREY16 = (X * 2700 + Y * 200 + 77).astype(np.uint16)
"""(16, 24) samples of 16 bits, up to 65177."""


def encode(kind, mode="RGB", **settings):
    """Encode ``RGB`` with Pillow."""
    return saved(Image.fromarray(RGB).convert(mode), kind, **settings)


def saved(image, kind, **settings):
    """Encode an image of Pillow."""
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def with_opencv(ending, array, *flags):
    """Encode a BGR or grey array with OpenCV."""
    return cv2.imencode(ending, array, list(flags))[1].tobytes()


def exif(orientation):
    """Return Exif with an orientation."""
    content = Image.Exif()
    content[0x0112] = orientation
    return content


def transparent():
    """Return an RGBA image whose right half is transparent, with a colour of its own."""
    pixels = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    pixels[:, 12:] = (200, 100, 7, 0)
    return Image.fromarray(pixels)


def transparent_gif():
    """Return a GIF whose transparent pixels have the colour (9, 200, 30) in the palette."""
    indices = np.zeros((16, 24), np.uint8)
    indices[:, 12:] = 1
    image = Image.fromarray(indices)
    image.putpalette([250, 10, 20, 9, 200, 30])
    return saved(image, "GIF", transparency=1)


def frames(kind, **settings):
    """Encode ``RGB`` with two further frames."""
    others = [Image.fromarray(np.roll(RGB, 7 * k, 1)) for k in (1, 2)]
    return encode(kind, save_all=True, append_images=others, **settings)


def pgm(samples, white):
    """Write a binary PGM, or PPM if there are three channels."""
    kind = "P6" if samples.ndim == 3 else "P5"
    bytes_of = samples.astype(">u2" if white > 255 else np.uint8).tobytes()
    head = f"{kind}\n# a comment\n{samples.shape[1]} {samples.shape[0]}\n{white}\n"
    return head.encode() + bytes_of


def tiff(samples, sample_format, *, orientation=1):
    """Write an uncompressed grey TIFF of one strip."""
    height, width = samples.shape
    tags = [
        (256, width), (257, height), (258, samples.itemsize * 8), (259, 1), (262, 1),
        (273, 8), (274, orientation), (277, 1), (278, height), (279, samples.nbytes),
        (339, sample_format),
    ]  # fmt: skip
    body = samples.tobytes()
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def segment(marker, content):
    """Return a segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_thumbnail(jpeg, thumbnail):
    """Put Exif with a JPEG thumbnail into a JPEG, as cameras do."""
    tags = ((0x0103, 3, 6), (0x0201, 4, 14 + 2 + 36 + 4), (0x0202, 4, len(thumbnail)))
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    header = b"II*\0" + struct.pack("<IHI", 8, 0, 14)
    content = b"Exif\0\0" + header + second + bytes(4) + thumbnail
    return jpeg[:2] + segment(0xE1, content) + jpeg[2:]


def png_header(width, height):
    """Return a PNG that is whole by its chunks, without pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
              (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))  # fmt: skip
    parts = [struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))
             for t, b in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SOUND = {
    "JPEG": encode("JPEG", quality=95),
    "progressive JPEG": encode("JPEG", progressive=True),
    "grey JPEG": encode("JPEG", "L"),
    "CMYK JPEG": encode("JPEG", "CMYK"),
    "JPEG with restarts": with_opencv(".jpg", RGB, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    **{f"JPEG of orientation {o}": encode("JPEG", exif=exif(o), quality=95) for o in range(2, 9)},
    "JPEG with thumbnail": with_thumbnail(encode("JPEG"), encode("JPEG")),
    "PNG": encode("PNG"),
    "grey PNG": encode("PNG", "L"),
    "PNG of 1 bit": encode("PNG", "1"),
    "PNG with palette": encode("PNG", "P"),
    "PNG with transparent palette": encode("PNG", "P", transparency=0),
    "LA PNG": encode("PNG", "LA"),
    "RGBA PNG": saved(transparent(), "PNG"),
    "PNG of 16 bits": with_opencv(".png", RGB.astype(np.uint16) * 200 + 77),
    "grey PNG of 16 bits": saved(Image.fromarray(GREY16), "PNG"),
    "PNG of orientation 6": encode("PNG", exif=exif(6)),
    "TIFF": encode("TIFF"),
    "TIFF with LZW": encode("TIFF", compression="tiff_lzw"),
    "TIFF of 1 bit": encode("TIFF", "1"),
    "TIFF of orientation 8": encode("TIFF", exif=exif(8)),
    "grey TIFF of 16 bits": tiff(GREY16, 1),
    "TIFF of three pages": frames("TIFF"),
    "WebP": encode("WEBP"),
    "WebP without loss": encode("WEBP", lossless=True),
    "RGBA WebP": saved(transparent(), "WEBP", lossless=True, exact=True),
    "BMP": encode("BMP"),
    "BMP with palette": encode("BMP", "P"),
    "PPM": encode("PPM"),
    "PGM of 16 bits": pgm(GREY16, 65535),
}
"""Files that OpenCV reads as they should be read, by kind."""

FURTHER = {
    "GIF": encode("GIF"),
    "transparent GIF": transparent_gif(),
    "animated GIF": frames("GIF"),
    "animated WebP": frames("WEBP", lossless=True),
    "WebP of orientation 6": encode("WEBP", exif=exif(6), lossless=True),
    "PGM of 12 bits": pgm(GREY16 >> 4, 4095),
}
"""Files that OpenCV does not read, or reads differently, in some version or all."""
