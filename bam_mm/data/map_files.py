"""Reading of semantic maps: the one rule for training, evaluation and checks.

A map is an image file whose stored numbers are the ids of classes. What has one sensible reading is
read; what would silently change ids (lossy compression, renumbered palettes, colours, inverted or
scaled greys) is an error.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bam_mm.data.opening import hides_bits, open_image
from bam_mm.data.orientation import exif_orientation
from bam_mm.errors import InputError

LOSSLESS = ("PNG", "TIFF", "BMP", "PPM")
"""Pillow's names of the file formats that maps may have."""

LOSSY = ("JPEG", "JPEG2000", "WEBP", "GIF")
"""Formats that are recognised only to name them: GIF's writers renumber palettes."""

_LFS = b"version https://git-lfs"
_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {"LA": 2, "La": 2, "PA": 2, "RGB": 3, "RGBA": 4, "RGBa": 4, "RGBX": 4}
_SCALES = {2: 85, 4: 17}
"""Factors by which Pillow stretches greys of 2 and 4 bits to 8."""
_BITS, _COMPRESSION, _PHOTOMETRIC = 258, 259, 262  # tags of TIFF
_TIFF_LOSSY = (6, 7, 33003, 33005, 34712, 34892, 50001)
_RESTORE = "restore the map, or remove it together with its image"
_AS_IDS = "save maps as PNG with one channel, whose values are the ids of the classes"


def read_map(data: bytes, path: str) -> np.ndarray:
    """Read the ids of a map.

    The values of one channel are ids, whatever their number of bits; those of a palette are its
    indices. Several channels with the same values (grey saved as RGB) count as one, and an opacity
    that is the same everywhere is ignored. Numbers of type float are ids if all are whole.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.

    Returns:
        (H, W) ids of type uint8, uint16 or int32, none of them negative.

    Raises:
        InputError: If the file is empty, damaged or no image, its format is lossy or not one of
            ``LOSSLESS``, its channels differ, or a value is no id.
    """
    if not data:
        raise InputError(f"{path} is empty (0 bytes): {_RESTORE}")
    if data.startswith(_LFS):
        raise InputError(
            f"{path} is a pointer of Git LFS instead of a map: fetch the files with git lfs pull"
        )
    try:
        with open_image(BytesIO(data), (*LOSSLESS, *LOSSY)) as image:
            _check_kind(image, data, path)
            values = _values(image, data)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).partition("<")[0].strip() or type(error).__name__
        raise InputError(
            f"{path} is not a readable map ({len(data)} bytes, {reason}): {_RESTORE}"
        ) from error
    return _as_ids(_one_channel(values, path), path)


def read_map_file(path: str | Path) -> np.ndarray:
    """Read the ids of a map from a local file; see :func:`read_map`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {_RESTORE}") from error
    return read_map(data, str(path))


def is_wide(path: str | Path) -> bool:
    """Return whether a map's header allows values beyond 8 bits; False if it cannot be read."""
    try:
        with open_image(path, LOSSLESS) as image:
            return image.mode.startswith(("I", "F"))
    except Exception:
        return False


def _check_kind(image: Image.Image, data: bytes, path: str) -> None:
    kind = _fault_of_format(image) or _fault_of_depth(image, data)
    if not kind and getattr(image, "is_animated", False):
        kind = "has several frames"
    if not kind and exif_orientation(image) != 1:
        kind = f"has Exif orientation {exif_orientation(image)}, which loaders of maps ignore"
    if not kind and image.mode not in _CHANNELS and image.mode[0] not in "1LPIF":
        kind = f"is a colour image ({image.mode})"
    if kind:
        raise InputError(f"{path} {kind}: {_AS_IDS}")


def _fault_of_format(image: Image.Image) -> str:
    lossy = f"is a {image.format} file, in which ids may have changed"
    if image.format == "TIFF":
        return lossy if image.tag_v2.get(_COMPRESSION) in _TIFF_LOSSY else ""  # type: ignore[attr-defined]
    return "" if image.format in LOSSLESS else lossy


def _fault_of_depth(image: Image.Image, data: bytes) -> str:
    """Describe values that Pillow would scale, cut or invert."""
    if image.format == "PNG":
        depth, colour = _png_depth(data)
        return "has 16 bits in several channels" if depth == 16 and colour else ""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(_BITS) or (1,)
        bits = bits if isinstance(bits, tuple) else (bits,)
        if len(bits) > 1 and max(bits) > 8:
            return f"has {max(bits)} bits in several channels"
        return "stores 0 as white" if tags.get(_PHOTOMETRIC) == 0 else ""
    if hides_bits(image, data):
        return "is a bitmap with a palette of black and white, of which only one bit would be read"
    if image.format == "PPM" and (image.mode == "1" or _decoder(image) != "raw"):
        return "is a Netpbm file with text, with bits, or with another maximum than 255 or 65535"
    return ""


def _decoder(image: Image.Image) -> str:
    return image.tile[0][0]  # type: ignore[attr-defined]


def _png_depth(data: bytes) -> tuple[int, int]:
    """Return the bits of a sample and the colour type (0 for grey) of a PNG file."""
    return (data[24], data[25]) if data.startswith(_PNG) else (8, 0)


def _values(image: Image.Image, data: bytes) -> np.ndarray:
    values = np.asarray(image)
    if image.mode == "1":
        return values.astype(np.uint8)
    depth = 8
    if image.mode == "L" and image.format == "PNG":
        depth = _png_depth(data)[0]
    elif image.mode == "L" and image.format == "TIFF":
        depth = (image.tag_v2.get(_BITS) or (8,))[0]  # type: ignore[attr-defined]
    return values // _SCALES[depth] if depth in _SCALES else values


def _one_channel(values: np.ndarray, path: str) -> np.ndarray:
    if values.ndim == 2:
        return values
    colours = values
    if values.shape[2] in (2, 4):
        colours, opacity = values[..., :-1], values[..., -1]
        if opacity.size and (opacity != opacity.flat[0]).any():
            raise InputError(f"{path} is transparent in some pixels: {_AS_IDS}")
    if (colours != colours[..., :1]).any():
        raise InputError(
            f"{path} holds colours ({values.shape[2]} channels with different values): {_AS_IDS}"
        )
    return np.ascontiguousarray(colours[..., 0])


def _as_ids(values: np.ndarray, path: str) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        raise InputError(f"{path} holds fractions or values that are not finite: {_AS_IDS}")
    if values.size and not (values.min() >= 0 and values.max() < 2**31):
        raise InputError(f"{path} holds {values.min():g}, which is no id: {_AS_IDS}")
    # Also the byte order of the machine.
    return values.astype(np.uint16 if values.dtype.itemsize == 2 else np.int32)
