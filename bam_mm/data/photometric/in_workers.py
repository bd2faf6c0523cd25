"""Photometric augmentation of one image in a worker, with Pillow or with OpenCV.

Both apply the same operations, including clamping and rounding. With OpenCV, brightness, contrast,
saturation and grey are one vectorised colour matrix each, and the blur is an exact Gaussian, which
Pillow approximates by three box filters (docs/benchmarks.md has the times).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from bam_mm.data.photometric.draw import PhotometricDraw

_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # weights of blue, green and red
_CUT = -0.499
"""Offset that turns OpenCV's rounding into Pillow's truncation; above -0.5 to keep integers."""
_INVISIBLE = 0.2
"""Standard deviation in pixels up to which a blur changes no grey level and is left out.

Such a Gaussian has only 1e-5 of its weight outside the centre pixel.
"""


def apply_to_image(image: np.ndarray, drawn: PhotometricDraw, index: int = 0) -> np.ndarray:
    """Apply row ``index`` of drawn parameters to an image with Pillow.

    Args:
        image: (H, W, 3) uint8 RGB image.
        drawn: Parameters drawn by :func:`bam_mm.data.photometric.draw.draw`.
        index: Row of ``drawn`` to use.

    Returns:
        (H, W, 3) uint8 RGB image.
    """
    out = Image.fromarray(image)
    if drawn.jitter[index]:
        for operation in drawn.order[index]:
            out = _PIL_JITTER[operation](out, float(drawn.factors[index, operation]))
    if drawn.gray[index]:
        out = out.convert("L").convert("RGB")
    if drawn.blur[index] > 0:
        out = out.filter(ImageFilter.GaussianBlur(radius=float(drawn.blur[index])))
    if drawn.solarize[index]:
        out = ImageOps.solarize(out, threshold=128)
    return np.asarray(out)


def _pil_brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _pil_contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _pil_saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _pil_hue(image: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    step = round(shift * 255)
    hue = hue.point([(level + step) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


_PIL_JITTER = (_pil_brightness, _pil_contrast, _pil_saturation, _pil_hue)


def apply_to_bgr(image: np.ndarray, drawn: PhotometricDraw, index: int = 0) -> np.ndarray:
    """Apply row ``index`` of drawn parameters to an image with OpenCV.

    Args:
        image: (H, W, 3) uint8 BGR image in any memory order.
        drawn: Parameters drawn by :func:`bam_mm.data.photometric.draw.draw`.
        index: Row of ``drawn`` to use.

    Returns:
        (H, W, 3) uint8 BGR image.
    """
    if not image.flags.c_contiguous:
        # Views have planar memory, and merging the planes is faster than NumPy's copy.
        image = cv2.merge([np.ascontiguousarray(image[..., c]) for c in range(3)])
    if drawn.jitter[index]:
        for operation in drawn.order[index]:
            image = _CV2_JITTER[operation](image, float(drawn.factors[index, operation]))
    if drawn.gray[index]:
        image = _cv2_recolour(image, np.tile(_LUMA, (3, 1)), 0.0)
    if drawn.blur[index] > _INVISIBLE:
        image = _cv2_blur(image, float(drawn.blur[index]))
    if drawn.solarize[index]:
        # From 128 upwards, the inverse is the smaller of a value and its inverse.
        image = cv2.min(image, cv2.bitwise_not(image))
    return image


def _cv2_recolour(image: np.ndarray, matrix: np.ndarray, offset: float) -> np.ndarray:
    last = np.full((3, 1), offset, np.float32)
    return cv2.transform(image, np.hstack([matrix.astype(np.float32), last]))


def _cv2_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return _cv2_recolour(image, factor * np.eye(3), _CUT)


def _cv2_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = int(np.dot(_LUMA, cast(Sequence[float], cv2.mean(image))[:3]) + 0.5)
    return _cv2_recolour(image, factor * np.eye(3), (1 - factor) * mean + _CUT)


def _cv2_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    return _cv2_recolour(image, factor * np.eye(3) + (1 - factor) * _LUMA, _CUT)


def _cv2_hue(image: np.ndarray, shift: float) -> np.ndarray:
    # Hue has 256 steps, as in Pillow, and wraps around like the colour circle.
    table = np.repeat(np.arange(256)[None, :, None], 3, axis=2)
    table[..., 0] += round(shift * 255)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL), (table % 256).astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


_CV2_JITTER = (_cv2_brightness, _cv2_contrast, _cv2_saturation, _cv2_hue)


def _cv2_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    # A float kernel, because the fixed-point kernel of cv2.GaussianBlur is slower and less exact.
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
