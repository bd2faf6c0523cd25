"""Photometric augmentation of one image in a worker, with PIL."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from bam_mm.data.photometric import PhotometricDraw


def apply_to_image(image: np.ndarray, drawn: PhotometricDraw, index: int = 0) -> np.ndarray:
    """Apply row ``index`` of a draw to an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        drawn: Parameters as :func:`bam_mm.data.photometric.draw` makes them.
        index: Row of the draw.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    out = Image.fromarray(image)
    if drawn.jitter[index]:
        for operation in drawn.order[index]:
            out = _JITTER[operation](out, float(drawn.factors[index, operation]))
    if drawn.gray[index]:
        out = out.convert("L").convert("RGB")
    if drawn.blur[index] > 0:
        out = out.filter(ImageFilter.GaussianBlur(radius=float(drawn.blur[index])))
    if drawn.solarize[index]:
        out = ImageOps.solarize(out, threshold=128)
    return np.asarray(out)


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _hue(image: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    step = round(shift * 255)
    hue = hue.point([(level + step) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


_JITTER = (_brightness, _contrast, _saturation, _hue)
