"""Rows and keys of the loss: which image and view they show, and how they are cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST_NORM = 1e-12  # as in torch.nn.functional.normalize


@dataclass(frozen=True)
class Budget:
    """Bytes that the loss may take beside its inputs, the keys and the gradient.

    Attributes:
        chunk: Of one chunk of the attention matrix. On a CPU it stays in the caches, on a GPU it
            is large enough for the matrix products.
        kept: Of what the balancing keeps of the teacher's matrix. What does not fit is formed anew
            in each iteration, at the cost of a matrix product.
    """

    chunk: int
    kept: int


# The CPU's chunk is the fastest of benchmarks/loss.py --sweep. The GPU's has not been timed: by
# count it makes 1,200 kernels of 32768 rows and 8192 keys, half as many as 32 MiB would, and takes
# a ninth of the matrices' memory.
BUDGETS = {"cpu": Budget(chunk=4 << 20, kept=32 << 20), "cuda": Budget(64 << 20, 128 << 20)}


@dataclass(frozen=True)
class Arrangement:
    """How the rows and keys are arranged: both view-major, the keys over all processes' images.

    Attributes:
        num_views: V, of the student's rows.
        num_global: G, of the keys.
        batch: Images of this process, B.
        total: Images of all processes, N.
        first: Index of this process's first image among the N.
        blocks: H, parts of the keys that have a softmax of their own: 1, or one for each view.
        masked: Whether positives are excluded.
    """

    num_views: int
    num_global: int
    batch: int
    total: int
    first: int
    blocks: int
    masked: bool

    @property
    def keys(self) -> int:
        """Number of keys, K."""
        return self.num_global * self.total

    def chunks(self, dtype: torch.dtype, device: torch.device) -> Iterator[slice]:
        """Cut the images so that all their views' scores fit the budget.

        Args:
            dtype: Of the scores.
            device: Whose budget holds.

        Yields:
            Consecutive slices of the B images.
        """
        size = self.num_views * self.keys * dtype.itemsize
        images = max(1, budget(device).chunk // size)
        for start in range(0, self.batch, images):
            yield slice(start, min(start + images, self.batch))

    def exclude_positives(self, scores: Tensor, images: slice, value: float) -> None:
        """Overwrite the entries of a chunk whose row and key show the same image, in any view.

        No mask is made: the entries lie on diagonals.

        Args:
            scores: (r, b, K) of any number of views and the images of the chunk; changed in place.
            images: The chunk's images.
            value: What to write.
        """
        if self.masked:
            own = slice(self.first + images.start, self.first + images.stop)
            by_view = scores.unflatten(2, (self.num_global, self.total))[..., own]
            by_view.diagonal(dim1=1, dim2=3).fill_(value)

    def by_block(self, scores: Tensor) -> Tensor:
        """(r, b, K) -> (r, b, H, K / H), each softmax along the last dimension."""
        return scores.unflatten(2, (self.blocks, -1))


def budget(device: torch.device) -> Budget:
    """Budget on this device; any accelerator has that of a GPU."""
    return BUDGETS.get(device.type, BUDGETS["cuda"])


def unit_rows(rows: Tensor, batch: int, images: slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Normalise the rows of some images, all views of each.

    Args:
        rows: (r * B, D), view-major.
        batch: B.
        images: b of the B images.
        dtype: Of the result.

    Returns:
        (r, b, D) rows of length one and (r, b, 1) lengths.
    """
    part = rows.unflatten(0, (-1, batch))[:, images].to(dtype)
    norms = torch.linalg.vector_norm(part, dim=-1, keepdim=True).clamp_min_(_SMALLEST_NORM)
    return part / norms, norms
