"""One box an image, in memory that running workers share."""

from __future__ import annotations

import torch
from torch import Tensor

from bam_mm.errors import InputError

WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)
"""Box (top, left, bottom, right) of an image of which nothing is known."""


class BoxStore:
    """Boxes of a data set's images, as fractions of their height and width.

    A data set keeps the store in its pipeline, and its workers get it when they start, forked or
    spawned. All of it lies in shared memory, so what the main process writes afterwards is what a
    running (persistent) worker reads. ``allocate`` must therefore come before the workers start.
    There is no lock: write between epochs, when no worker reads.

    Attributes:
        boxes: (N, 4) float32 in shared memory: top, left, bottom, right from 0 to 1; None before
            ``allocate``.
    """

    def __init__(self) -> None:
        self.boxes: Tensor | None = None
        self._active = torch.zeros(1, dtype=torch.uint8).share_memory_()

    @property
    def active(self) -> bool:
        """Whether boxes were written; without, crops ignore the store."""
        return bool(self._active)

    def __len__(self) -> int:
        return 0 if self.boxes is None else len(self.boxes)

    def allocate(self, count: int) -> None:
        """Make room for ``count`` images, each with the whole image for a box, inactive."""
        self.boxes = torch.tensor(WHOLE_IMAGE).repeat(count, 1).share_memory_()
        self._active.zero_()

    def update(self, indices: Tensor, boxes: Tensor) -> None:
        """Write boxes, and switch the store on.

        Args:
            indices: (n,) int64, positions of the images in the data set; one that occurs twice
                keeps its last box, one that is missing keeps the box it has.
            boxes: (n, 4), top, left, bottom, right as fractions.

        Raises:
            InputError: If an index is not below the number of images, or a box is not one.
        """
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise InputError(
                f"boxes of the images {int(indices.min())} to {int(indices.max())}, but the "
                f"training set has {len(self)} images: compute boxes on the training set itself"
            )
        fits = (boxes >= 0).all(1) & (boxes <= 1).all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)
        if not bool(fits.all()):
            wrong = int((~fits).nonzero()[0])
            raise InputError(
                f"box of image {int(indices[wrong])} is {boxes[wrong].tolist()}: a box is (top, "
                "left, bottom, right) in fractions of the image, 0 <= top < bottom <= 1 and so "
                "across"
            )
        self.boxes[indices] = boxes.to(self.boxes)
        self._active.fill_(1)

    def load(self, boxes: Tensor) -> None:
        """Take over the boxes of a checkpoint, (N, 4).

        Raises:
            InputError: If they belong to another number of images.
        """
        if boxes.shape != self.boxes.shape:
            raise InputError(
                f"the checkpoint holds boxes of shape {tuple(boxes.shape)}, but the training set "
                f"has {len(self)} images: resume with the data that the run was started with"
            )
        self.update(torch.arange(len(self)), boxes.cpu())

    def box(self, index: int) -> tuple[float, float, float, float]:
        """Box of the image at ``index``: top, left, bottom, right as fractions."""
        return tuple(self.boxes[index].tolist())
