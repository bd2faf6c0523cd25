"""Store with one box per image, in memory that running workers share."""

from __future__ import annotations

import torch
from torch import Tensor

from bam_mm.errors import InputError

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)
"""Box (top, left, bottom, right) of an image for which no box was computed."""


class BoxStore:
    """Boxes of a data set's images, as fractions of their height and width.

    The store is part of the data set's pipeline, and workers receive it when they start, forked or
    spawned. It is in shared memory, so running (persistent) workers read what the main process
    writes later. Call ``allocate`` before the workers start. There is no lock: write between
    epochs, when no worker reads.

    Attributes:
        boxes: (N, 4) float32 tensor in shared memory: top, left, bottom, right from 0 to 1. None
            before ``allocate``.
    """

    def __init__(self) -> None:
        self.boxes: Tensor | None = None
        self._active = torch.zeros(1, dtype=torch.uint8).share_memory_()

    @property
    def active(self) -> bool:
        """Whether boxes were written. Until then, crops ignore the store."""
        return bool(self._active)

    def __len__(self) -> int:
        return 0 if self.boxes is None else len(self.boxes)

    def allocate(self, count: int) -> None:
        """Allocate boxes of ``count`` images, each the whole image, and deactivate the store."""
        self.boxes = torch.tensor(WHOLE_IMAGE).repeat(count, 1).share_memory_()
        # Copies of a data set (get_subset) copy the flag out of shared memory.
        self._active.zero_().share_memory_()

    def update(self, indices: Tensor, boxes: Tensor) -> None:
        """Write boxes, and activate the store.

        Args:
            indices: (n,) int64 indices of the images in the data set. The last box of a repeated
                index counts; images without an index keep their box.
            boxes: (n, 4) boxes: top, left, bottom, right as fractions.

        Raises:
            InputError: If an index is out of range, or a box is not valid.
        """
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise InputError(
                f"boxes for images {int(indices.min())} to {int(indices.max())}, but the "
                f"training set has {len(self)} images: compute boxes on the training set itself"
            )
        fits = (boxes >= 0).all(1) & (boxes <= 1).all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)
        if not bool(fits.all()):
            wrong = int((~fits).nonzero()[0])
            raise InputError(
                f"box of image {int(indices[wrong])} is {boxes[wrong].tolist()}: set (top, left, "
                "bottom, right) in fractions of the image, with 0 <= top < bottom <= 1 and "
                "0 <= left < right <= 1"
            )
        store = self._allocated()
        store[indices] = boxes.to(store)
        self._active.fill_(1)

    def load(self, boxes: Tensor) -> None:
        """Load the boxes of a checkpoint.

        Args:
            boxes: (N, 4) boxes of all images: top, left, bottom, right as fractions.

        Raises:
            InputError: If the boxes belong to another number of images.
        """
        if boxes.shape != self._allocated().shape:
            raise InputError(
                f"the checkpoint holds boxes of shape {tuple(boxes.shape)}, but the training set "
                f"has {len(self)} images: resume with the data of the original run"
            )
        self.update(torch.arange(len(self)), boxes.cpu())

    def box(self, index: int) -> tuple[float, float, float, float]:
        """Return the box of the image at ``index``: top, left, bottom, right as fractions."""
        top, left, bottom, right = self._allocated()[index].tolist()
        return top, left, bottom, right

    def _allocated(self) -> Tensor:
        assert self.boxes is not None, "call BoxStore.allocate first"
        return self.boxes
