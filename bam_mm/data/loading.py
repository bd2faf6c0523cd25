"""Loading of images, and handling of images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bam_mm.data.lazy_image import LazyImage
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_TAIL = 4096
"""Number of bytes at the end of a JPEG to search for its end mark, as cameras append data."""
_REMEDY = "replace the file, delete it, or skip unreadable images with on_error='skip'"
_RESTORE = "restore the file, or skip unreadable images with on_error='skip'"
_REMEDY_OF_LABELLED = "replace the file, or remove it from the data set together with its labels"


def decode_image(data: bytes, path: str, remedy: str = _REMEDY) -> np.ndarray:
    """Decode an image.

    OpenCV silently fills a truncated JPEG with grey, so the end mark is checked first.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.
        remedy: End of a message, which names what the user can do.

    Returns:
        (H, W, 3) uint8 BGR image.

    Raises:
        InputError: If the file is empty, truncated or not an image.
    """
    _check_whole(data, path, remedy)
    image = mmcv.imfrombytes(data, flag="color", backend="cv2")
    if image is None:
        raise InputError(f"{path} is not a readable image ({len(data)} bytes): {remedy}")
    return image


def _check_whole(data: bytes, path: str, remedy: str = _REMEDY) -> None:
    if not data:
        raise InputError(f"{path} is empty (0 bytes): {remedy}")
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_TAIL:]:
        raise InputError(f"{path} is truncated ({len(data)} bytes, no JPEG end mark): {remedy}")


def _read(path: str, remedy: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error


def _lazy_jpeg(
    data: bytes, path: str, unreadable: Callable[[InputError], None] | None = None
) -> LazyImage | None:
    """Return a JPEG with a valid header, or None for other files."""
    if not data.startswith(_JPEG_START):
        return None
    try:
        return LazyImage(data, path, unreadable)
    except Exception:  # If Pillow cannot read the header, OpenCV decides.
        return None


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
        _check_whole(data, path)
        return _lazy_jpeg(data, path, self._unreadable)

    def _unreadable(self, error: InputError) -> None:
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        print_log(f"skipped: {error}", logger="current", level=30)


@TRANSFORMS.register_module()
class CheckImage(BaseTransform):
    """Stop at an image that cannot be read, with the checks of :class:`LoadImage`.

    It precedes the library's ``LoadImageFromFile``, which returns the same pixels as ``LoadImage``
    but fills a truncated JPEG with grey. The inferencers of mmdet and mmseg replace
    ``LoadImageFromFile`` by a loader of paths and arrays; they look for exactly this name.

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
            InputError: If the file is missing, empty, truncated or not an image.
        """
        path = _path_of(results)
        if path and "://" not in path:
            data = _read(path, _REMEDY_OF_LABELLED)
            _check_whole(data, path, _REMEDY_OF_LABELLED)
            if _lazy_jpeg(data, path) is None:
                decode_image(data, path, _REMEDY_OF_LABELLED)
        return results


def _path_of(results: dict | str | np.ndarray) -> str | None:
    if isinstance(results, str):
        return results
    if isinstance(results, dict) and "img" not in results:
        return results.get("img_path")
    return None
