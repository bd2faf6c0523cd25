"""Photometric augmentation of one image in a worker, with OpenCV on bytes.

Operation by operation what :mod:`~bam_mm.data.photometric_pil` does, clamps and rounding included,
but that brightness, contrast, saturation and grey are each one vectorised colour matrix, and that
the blur is a Gaussian and not Pillow's three box filters.
"""

from __future__ import annotations

import cv2
import numpy as np

from bam_mm.data.photometric import PhotometricDraw

_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of blue, green and red
_CUT = -0.499
"""Pillow cuts fractions off where OpenCV rounds; a little less than half keeps whole numbers."""
_INVISIBLE = 0.2
"""Pixels: a Gaussian of less has 1e-5 of its weight off the middle, no grey level."""


def apply_to_bgr(image: np.ndarray, drawn: PhotometricDraw, index: int = 0) -> np.ndarray:
    """Apply row ``index`` of a draw to an image.

    Args:
        image: (H, W, 3) uint8, BGR, in any memory order.
        drawn: Parameters as :func:`bam_mm.data.photometric.draw` makes them.
        index: Row of the draw.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    if not image.flags.c_contiguous:
        # Views come in planes; merging them is faster than NumPy's copy.
        image = cv2.merge([np.ascontiguousarray(image[..., c]) for c in range(3)])
    if drawn.jitter[index]:
        for operation in drawn.order[index]:
            image = _JITTER[operation](image, float(drawn.factors[index, operation]))
    if drawn.gray[index]:
        image = _recolour(image, np.tile(_LUMA, (3, 1)), 0.0)
    if drawn.blur[index] > _INVISIBLE:
        image = _blur(image, float(drawn.blur[index]))
    if drawn.solarize[index]:
        # The smaller of a value and its inverse is the inverse from 128 up.
        image = cv2.min(image, cv2.bitwise_not(image))
    return image


def _recolour(image: np.ndarray, matrix: np.ndarray, offset: float) -> np.ndarray:
    last = np.full((3, 1), offset, np.float32)
    return cv2.transform(image, np.hstack([matrix.astype(np.float32), last]))


def _brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return _recolour(image, factor * np.eye(3), _CUT)


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = int(np.dot(_LUMA, cv2.mean(image)[:3]) + 0.5)
    return _recolour(image, factor * np.eye(3), (1 - factor) * mean + _CUT)


def _saturation(image: np.ndarray, factor: float) -> np.ndarray:
    return _recolour(image, factor * np.eye(3) + (1 - factor) * _LUMA, _CUT)


def _hue(image: np.ndarray, shift: float) -> np.ndarray:
    # Hue in 256 steps, as in Pillow: the levels wrap around as the colour circle does.
    table = np.repeat(np.arange(256)[None, :, None], 3, axis=2)
    table[..., 0] += round(shift * 255)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL), (table % 256).astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


_JITTER = (_brightness, _contrast, _saturation, _hue)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    # A float kernel: GaussianBlur's own fixed-point one is slower and less exact.
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
