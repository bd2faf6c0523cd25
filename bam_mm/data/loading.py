"""Loading of images, and handling of images that cannot be read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bam_mm.data.decoding import SKIP, check_bytes, decode_image, decode_with_opencv, is_plain
from bam_mm.data.jpeg import jpeg_shape
from bam_mm.data.lazy_image import LazyImage
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS

_RESTORE = f"restore the file ({SKIP})"
_REMEDY_OF_LABELLED = "replace the file, or remove it from the data set together with its labels"

_MOST_PIXELS = 1 << 30  # of an image, unless an environment variable of OpenCV says otherwise


def read_image(path: str | Path, remedy: str) -> np.ndarray:
    """Read an image file.

    Args:
        path: Path of the file.
        remedy: End of a message, which names what the user can do.

    Returns:
        (H, W, 3) uint8 BGR image.

    Raises:
        InputError: If there is no such file, or :func:`~bam_mm.data.decoding.decode_image` cannot
            decode it.
    """
    return decode_image(_read(str(path), remedy), str(path), remedy)


def _read(path: str, remedy: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error


def _is_likely_readable(data: bytes) -> bool:
    """Return whether a file is a JPEG whose header shows nothing that OpenCV might refuse."""
    shape = jpeg_shape(data)
    return shape is not None and math.prod(shape[:2]) <= _MOST_PIXELS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load the image at ``results['img_path']`` into ``results['img']``, in BGR.

    Results with an image but no path are returned unchanged (CIFAR's images are decoded already).

    Args:
        on_error: Handling of images that cannot be read. ``stop`` raises an error with the file's
            name; ``skip`` logs it, counts it in ``skipped`` and lets the data set choose another
            image.
        lazy: Whether JPEGs remain encoded, as :class:`~bam_mm.data.lazy_image.LazyImage`, so that
            :class:`~bam_mm.data.multi_crop.MultiCrop` decodes large ones only as finely as its
            crops need. Other transforms need a decoded image.

    Attributes:
        skipped: Number of skipped images, a tensor of one integer in shared memory. Workers
            increase it, and the main process reads it.
    """

    def __init__(self, on_error: str = "stop", lazy: bool = False) -> None:
        if on_error not in ("stop", "skip"):
            raise InputError(f"LoadImage on_error={on_error!r}: choose 'stop' or 'skip'")
        self.on_error, self.lazy = on_error, lazy
        self.skipped = torch.zeros(1, dtype=torch.int64).share_memory_()

    def transform(self, results: dict) -> dict | None:
        """Load the image, or return None if it is skipped."""
        if "img" in results and "img_path" not in results:
            return results
        path = results["img_path"]
        try:
            data = _read(path, _RESTORE)
            image: LazyImage | np.ndarray | None = self._lazy(data, path) if self.lazy else None
            if image is None:
                image = decode_image(data, path)
        except InputError as error:
            self._unreadable(error)
            return None
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _lazy(self, data: bytes, path: str) -> LazyImage | None:
        check_bytes(data, path)
        return LazyImage(data, path, self._unreadable) if _is_likely_readable(data) else None

    def _unreadable(self, error: InputError) -> None:
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        print_log(f"skipped: {error}", logger="current", level=30)


@TRANSFORMS.register_module()
class CheckImage(BaseTransform):
    """Stop at an image that cannot be read, with the checks of :class:`LoadImage`.

    It precedes the library's ``LoadImageFromFile``, which returns the same pixels as ``LoadImage``
    but, with some versions of OpenCV, fills a truncated JPEG with grey. Files of which it would
    return other pixels (see :mod:`bam_mm.data.decoding`) end with a message. The inferencers of
    mmdet and mmseg replace ``LoadImageFromFile`` by a loader of paths and arrays; they look for
    exactly this name.

    A JPEG with a valid header and end is not decoded, so that it is decoded only once.
    """

    def transform(self, results: dict | str | np.ndarray) -> dict | str | np.ndarray:
        """Check the file at ``results['img_path']``.

        Args:
            results: Results of a data set, or the input of an inferencer: a path, or an image
                (H, W, 3) of uint8. Images without a path and addresses (``scheme://...``) are not
                checked.

        Returns:
            The results, unchanged.

        Raises:
            InputError: If the file is missing, empty, truncated or not an image, or if the
                library's loader would read it differently.
        """
        path = _path_of(results)
        if path and "://" not in path:
            _check_for_library(_read(path, _REMEDY_OF_LABELLED), path)
        return results


def _check_for_library(data: bytes, path: str) -> None:
    check_bytes(data, path, _REMEDY_OF_LABELLED)
    if _is_likely_readable(data):
        return
    theirs = decode_with_opencv(data, path, _REMEDY_OF_LABELLED)
    if not is_plain(data) and not np.array_equal(decode_image(data, path), theirs):
        raise InputError(
            f"{path} is a GIF with transparency, a WebP with an orientation in Exif, or a PGM or "
            "PPM with another white than 255 or 65535, which the loader of detection and "
            "segmentation reads differently from other viewers: save it as PNG"
        )


def _path_of(results: dict | str | np.ndarray) -> str | None:
    if isinstance(results, str):
        return results
    if isinstance(results, dict) and "img" not in results:
        return results.get("img_path")
    return None
