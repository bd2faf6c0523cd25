"""Arrangement of rows and keys by image and view, and chunks of images that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST_NORM = 1e-12  # as in torch.nn.functional.normalize


@dataclass(frozen=True)
class Budget:
    """Memory that the loss may use in addition to its inputs, the keys and the gradient.

    Attributes:
        chunk: Size of one chunk of the attention matrix in bytes. On a CPU it stays in the caches,
            on a GPU it is large enough for efficient matrix products.
        kept: Size in bytes of the part of the teacher's matrix that balancing keeps. The rest is
            computed again in each iteration, at the cost of a matrix product.
    """

    chunk: int
    kept: int


# The CPU's chunk is the fastest of benchmarks/loss.py --sweep. The GPU's has not been timed: for
# 32768 rows and 8192 keys it needs 1,200 kernels, half as many as 32 MiB would, and a ninth of the
# memory of the whole matrices.
BUDGETS = {"cpu": Budget(chunk=4 << 20, kept=32 << 20), "cuda": Budget(64 << 20, 128 << 20)}
"""Budgets by type of device."""


@dataclass(frozen=True)
class Arrangement:
    """Arrangement of rows and keys: both view-major, the keys over the images of all processes.

    Attributes:
        num_views: V, number of views among the student's rows.
        num_global: G, number of views among the keys.
        num_targets: T, number of views whose rows serve as targets: the first G, or all V.
        batch: B, number of images in this process.
        total: N, number of images in all processes.
        first: Index of this process's first image among the N.
        blocks: H, number of parts of the keys that have their own softmax: 1, or one for each view.
        masked: Whether positives are excluded.
    """

    num_views: int
    num_global: int
    num_targets: int
    batch: int
    total: int
    first: int
    blocks: int
    masked: bool

    @property
    def keys(self) -> int:
        """Number of keys, K."""
        return self.num_global * self.total

    @property
    def pairs(self) -> int:
        """Number of pairs (target view, source view): different views, at least one global."""
        return self.num_global * (self.num_views - 1 + self.num_targets - self.num_global)

    def chunks(self, dtype: torch.dtype, device: torch.device) -> Iterator[slice]:
        """Split the images so that the scores of all their views fit the budget.

        Args:
            dtype: Type of the scores.
            device: Device whose budget applies.

        Yields:
            Consecutive slices of the B images.
        """
        size = self.num_views * self.keys * dtype.itemsize
        images = max(1, budget(device).chunk // size)
        for start in range(0, self.batch, images):
            yield slice(start, min(start + images, self.batch))

    def exclude_positives(self, scores: Tensor, images: slice, value: float) -> None:
        """Overwrite the entries of a chunk whose row and key show the same image, in any view.

        The entries lie on diagonals, so no mask is needed.

        Args:
            scores: (r, b, K) scores of r views of the chunk's b images; changed in place.
            images: The chunk's images.
            value: New value of these entries.
        """
        if self.masked:
            own = slice(self.first + images.start, self.first + images.stop)
            by_view = scores.unflatten(2, (self.num_global, self.total))[..., own]
            by_view.diagonal(dim1=1, dim2=3).fill_(value)

    def by_block(self, scores: Tensor) -> Tensor:
        """(r, b, K) -> (r, b, H, K / H), each softmax along the last dimension."""
        return scores.unflatten(2, (self.blocks, -1))


def budget(device: torch.device) -> Budget:
    """Return the budget of a device; any accelerator uses that of a GPU."""
    return BUDGETS.get(device.type, BUDGETS["cuda"])


def unit_rows(rows: Tensor, batch: int, images: slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Normalise the rows of some images in all their views.

    Args:
        rows: (r * B, D) rows of r views, view-major.
        batch: B, number of images.
        images: The b images to take.
        dtype: Type of the result.

    Returns:
        (r, b, D) rows of length one, and their (r, b, 1) lengths before.
    """
    part = rows.unflatten(0, (-1, batch))[:, images].to(dtype)
    norms = torch.linalg.vector_norm(part, dim=-1, keepdim=True).clamp_min_(_SMALLEST_NORM)
    return part / norms, norms
