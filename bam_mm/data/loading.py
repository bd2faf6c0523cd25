"""Loading of images, and handling of images that cannot be read."""

from __future__ import annotations

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


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decode an image.

    OpenCV silently fills a truncated JPEG with grey, so the end mark is checked first.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.

    Returns:
        (H, W, 3) uint8 BGR image.

    Raises:
        InputError: If the file is empty, truncated or not an image.
    """
    _check_whole(data, path)
    image = mmcv.imfrombytes(data, flag="color", backend="cv2")
    if image is None:
        raise InputError(f"{path} is not a readable image ({len(data)} bytes): {_REMEDY}")
    return image


def _check_whole(data: bytes, path: str) -> None:
    if not data:
        raise InputError(f"{path} is empty (0 bytes): {_REMEDY}")
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_TAIL:]:
        raise InputError(f"{path} is truncated ({len(data)} bytes, no JPEG end mark): {_REMEDY}")


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
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise InputError(
                    f"{path} cannot be read ({error.strerror}): restore the file, or skip "
                    "unreadable images with on_error='skip'"
                ) from error
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
        if not data.startswith(_JPEG_START):
            return None
        try:
            return LazyImage(data, path, self._unreadable)
        except Exception:  # If Pillow cannot read the header, OpenCV decides.
            return None

    def _unreadable(self, error: InputError) -> None:
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        print_log(f"skipped: {error}", logger="current", level=30)
