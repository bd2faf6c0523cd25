"""Decoding of images: the same pixels, or the same message, in every task."""

from __future__ import annotations

import warnings
from io import BytesIO

import cv2
import numpy as np
from PIL import ImageOps

from bam_mm.data.exif import upright
from bam_mm.data.image_bytes import (
    GIF_STARTS,
    TIFF_STARTS,
    describe,
    fault_of,
    is_webp,
    largest_sample,
    orientation_of_webp,
    size_in_header,
)
from bam_mm.data.jpeg import START as JPEG_START
from bam_mm.data.jpeg import JpegHeader, read_jpeg_header
from bam_mm.data.opening import open_image
from bam_mm.errors import InputError

SKIP = "pretraining without class folders can skip such images with on_error='skip'"
REMEDY = f"replace the file, or delete it ({SKIP})"
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Modes of Pillow with at most 8 bits a sample."""
_ALSO_PILLOW = (*TIFF_STARTS, b"P1", b"P2", b"P3")


def decode_image(data: bytes, path: str, remedy: str = REMEDY) -> np.ndarray:
    """Decode an image.

    The image is upright: the orientation in Exif is applied. Grey becomes three equal channels, 16
    bits become their upper 8, and of several frames or pages the first counts. Transparency is
    ignored: the colour that is stored under it counts.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.
        remedy: End of a message, which names what the user can do.

    Returns:
        (H, W, 3) uint8 BGR image.

    Raises:
        InputError: If the file is empty, truncated or not an image, has more pixels than OpenCV
            reads, or has samples whose range is unknown (floating-point, signed or 32 bits).
    """
    header = read_jpeg_header(data) if data.startswith(JPEG_START) else None
    check_bytes(data, path, remedy, header=header)
    try:
        image = _decode(data, header)
    except cv2.error as error:
        raise InputError(_message(error, data, path, remedy)) from error
    if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(no_image(data, path, remedy))
    return image


def decode_with_opencv(
    data: bytes, path: str, remedy: str = REMEDY, *, flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Decode an image with OpenCV alone, as the libraries do.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.
        remedy: End of a message, which names what the user can do.
        flags: Flags of ``cv2.imdecode``.

    Returns:
        (H, W, 3) uint8 BGR image.

    Raises:
        InputError: If OpenCV cannot read the file.
    """
    try:
        image = _opencv(data, flags)
    except cv2.error as error:
        raise InputError(_message(error, data, path, remedy)) from error
    if image is None:
        raise InputError(no_image(data, path, remedy))
    return image


def check_bytes(
    data: bytes, path: str, remedy: str = REMEDY, *, header: JpegHeader | None = None
) -> None:
    """Check the header of a file, without decoding it.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.
        remedy: End of a message, which names what the user can do.
        header: Header of a JPEG, if it is read already.

    Raises:
        InputError: If the file is empty, truncated or has samples whose range is unknown.
    """
    if (fault := fault_of(data, header)) is not None:
        raise InputError(f"{path} {fault}: {remedy}")


def no_image(data: bytes, path: str, remedy: str = REMEDY) -> str:
    """Return the message for a file that no decoder reads.

    Args:
        data: Bytes of the file.
        path: Path of the file.
        remedy: End of the message, which names what the user can do.
    """
    found = describe(data)
    kind = f"; it is {found}" if found else ""
    return f"{path} is not a readable image ({len(data)} bytes{kind}): {remedy}"


def is_plain(data: bytes) -> bool:
    """Return whether OpenCV alone, as the libraries use it, reads what :func:`decode_image` does.

    JPEGs count as plain without a closer look.

    Args:
        data: Bytes of the file.
    """
    if data.startswith(GIF_STARTS) or largest_sample(data) not in (None, 255, 65535):
        return False
    return not is_webp(data) or orientation_of_webp(data) == 1


def _decode(data: bytes, header: JpegHeader | None) -> np.ndarray | None:
    if header is not None:
        image = _opencv(data, _AS_STORED)
        return None if image is None else upright(image, header.orientation)
    if data.startswith(GIF_STARTS):  # OpenCV reads GIF since version 4.12, with another background
        return _pillow(data)
    if is_webp(data):  # OpenCV turns WebP since version 4.13, and reads animations since 4.11
        image = _opencv(data, _AS_STORED)
        return _pillow(data) if image is None else upright(image, orientation_of_webp(data))
    white = largest_sample(data)
    if white and white not in (255, 65535):
        return _scaled(_opencv(data, cv2.IMREAD_UNCHANGED), white)
    image = _opencv(data, cv2.IMREAD_COLOR)
    # Pillow reads some tiles and compressions of TIFF, and some texts, that OpenCV does not.
    return _pillow(data) if image is None and data.startswith(_ALSO_PILLOW) else image


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    stored = np.frombuffer(data, np.uint8)
    if data.startswith(JPEG_START) or not hasattr(cv2, "setLogLevel"):
        return cv2.imdecode(stored, flags)
    # OpenCV logs what is wrong with a file before it returns None, or raises, which is reported.
    level = cv2.getLogLevel()
    try:
        cv2.setLogLevel(0)
        return cv2.imdecode(stored, flags)
    finally:
        cv2.setLogLevel(level)


def _pillow(data: bytes) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(BytesIO(data)) as image:
                if image.mode not in _MODES:
                    return None
                # Pillow would also turn an image by its XMP, which no other decoder does.
                turned = image if is_webp(data) else ImageOps.exif_transpose(image)
                pixels = np.asarray(turned.convert("RGB"))[:, :, ::-1]
        if is_webp(data):
            pixels = upright(pixels, orientation_of_webp(data))
        return np.ascontiguousarray(pixels)
    except Exception:  # Pillow has errors of many types for damaged files.
        return None


def _scaled(image: np.ndarray | None, white: int) -> np.ndarray | None:
    """Scale the samples of a PGM or PPM file to 8 bits; OpenCV ignores its value of white."""
    if image is None:
        return None
    scaled = np.rint(image * (255 / white)).clip(0, 255).astype(np.uint8)
    return cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR) if scaled.ndim == 2 else scaled


def _message(error: cv2.error, data: bytes, path: str, remedy: str) -> str:
    size = size_in_header(data)
    extent = f"{size[1]} x {size[0]} pixels" if size else f"{len(data)} bytes"
    if "CV_IO_MAX_IMAGE" in str(error):
        return (
            f"{path} has more pixels than OpenCV reads ({extent}; the limit is 2^30, set by the "
            f"environment variable OPENCV_IO_MAX_IMAGE_PIXELS): {remedy}"
        )
    if "memory" in str(error).lower():
        return f"{path} does not fit into the memory ({extent}): {remedy}"
    return no_image(data, path, remedy)
