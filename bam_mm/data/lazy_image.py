"""JPEG images that are decoded after their crops are drawn, as coarsely as these allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from bam_mm.errors import InputError

REDUCTIONS = (8, 4, 2)
"""Divisors of the sides at which JPEG can be decoded for less than the cost of the whole image."""

_READ = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_ORIENTATION = 0x0112  # tag in Exif
_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class LazyImage:
    """An encoded JPEG whose image size is known.

    Indexing it or converting it to an array decodes the whole (H, W, 3) uint8 BGR image, again at
    each access. :class:`~bam_mm.data.multi_crop.MultiCrop` reads ``shape``, draws its crops, and
    calls :meth:`decode` once.

    Args:
        data: Bytes of the file.
        path: Path of the file, for messages.
        unreadable: Function that is called with the error if decoding fails in spite of a valid
            header; if None, the error is raised.

    Attributes:
        shape: (H, W, 3) of the image after its rotation according to Exif.

    Raises:
        Exception: Any error of Pillow if it cannot read the header.
    """

    def __init__(
        self, data: bytes, path: str, unreadable: Callable[[InputError], None] | None = None
    ) -> None:
        self.data, self.path, self.unreadable = data, path, unreadable
        with Image.open(BytesIO(data)) as header:
            width, height = header.size
            exif = header.getexif() if "exif" in header.info else {}
            orientation = exif.get(_ORIENTATION, 1)
            self._turn = _TURN.get(orientation)
            if orientation in (5, 6, 7, 8):
                width, height = height, width
        self.shape = (height, width, 3)

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decode the image.

        Args:
            reduction: Divisor of the sides, 1 or one of ``REDUCTIONS``.

        Returns:
            (ceil(H / reduction), ceil(W / reduction), 3) uint8 BGR image.

        Raises:
            InputError: If the image cannot be decoded.
        """
        data = np.frombuffer(self.data, np.uint8)
        # ``shape`` follows Pillow's reading of Exif, so the rotation must follow it as well.
        image = cv2.imdecode(data, _READ[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise InputError(
                f"{self.path} is not a readable image ({len(self.data)} bytes): replace the file, "
                "delete it, or skip unreadable images with on_error='skip'"
            )
        return self._turn(image) if self._turn else image

    def decode_or_report(self, reduction: int = 1) -> np.ndarray | None:
        """Decode the image, or return None if ``unreadable`` handles a failure."""
        try:
            return self.decode(reduction)
        except InputError as error:
            if self.unreadable is None:
                raise
            self.unreadable(error)
            return None

    def __getitem__(self, key) -> np.ndarray:
        return self.decode()[key]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.decode(), dtype=dtype)


def choose_reduction(
    boxes: Sequence[tuple[int, int, int, int]], sizes: Sequence[tuple[int, int]]
) -> int:
    """Choose the coarsest decoding from which no view has to be enlarged.

    Args:
        boxes: Top, left, bottom, right of each crop in pixels of the whole image.
        sizes: Height and width of each view in pixels.

    Returns:
        8, 4, 2 or 1; also 1 if a view has to be enlarged even from the whole image.
    """
    pairs = list(zip(boxes, sizes, strict=True))
    for reduction in REDUCTIONS:
        if all(
            bottom - top >= reduction * height and right - left >= reduction * width
            for (top, left, bottom, right), (height, width) in pairs
        ):
            return reduction
    return 1
