"""Tables of features that are allocated once and filled in place, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bam_mm.distributed import fill_rows, gather_objects, gather_rows, rank, true_on_all, world_size
from bam_mm.errors import InputError

EVALUATION_SAMPLER = dict(type="DefaultSampler", shuffle=False, round_up=False)
"""Sampler that neither drops nor repeats an image: each of P processes takes every P-th one."""

DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Types in which features can be stored."""


class FeatureShard(NamedTuple):
    """The rows of a table of features that one process holds.

    Attributes:
        features: (n, C) features.
        rows: (n,) ascending int64 indices of these rows in the table of N rows.
        labels: (N,) int64 labels of all rows, the same on every process.
    """

    features: Tensor
    rows: Tensor
    labels: Tensor


def feature_dtype_of(name: str) -> torch.dtype:
    """Return the type in which features are stored.

    Args:
        name: ``float32`` or ``float16``.

    Raises:
        InputError: If ``name`` is anything else.
    """
    if name not in DTYPES:
        raise InputError(f"test_cfg.feature_dtype={name!r}: choose one of {', '.join(DTYPES)}")
    return DTYPES[name]


class FeatureTables:
    """Features of a data set with one or several backbones, as far as this process needs them.

    Memory for all rows is allocated with the first batch. A table of every row has each row in its
    place from the start; a shard has the rows that ``EVALUATION_SAMPLER`` assigns to this process.

    Args:
        names: Names of the backbones.
        images: Number of images N of the data set.
        whole: Whether every process holds all rows in the end.
        dtype: Type in which the features are stored.
    """

    def __init__(
        self, names: Iterable[str], images: int, *, whole: bool, dtype: torch.dtype
    ) -> None:
        self.images, self.whole, self.dtype = images, whole, dtype
        self.tables: dict[str, Tensor] = {}
        self.names, self.mine = list(names), range(rank(), images, world_size())
        self.labels: list[Tensor] = []
        self.seen: list[int] = []
        self.placed = True

    def add(self, features: Mapping[str, Tensor], labels: Tensor, indices: Sequence[int]) -> None:
        """Store a batch.

        Args:
            features: (B, C) features by name of the backbone, in ``dtype``.
            labels: (B,) labels.
            indices: Indices of the images in the data set.
        """
        self.seen += indices
        self.labels.append(labels)
        if not all(index in self.mine for index in indices):
            self.placed = False  # Reported at the end, on all processes together.
            return
        where = _selection(indices if self.whole else [self.mine.index(i) for i in indices])
        for name, batch in features.items():
            if name not in self.tables:
                self.tables[name] = self._allocate(batch.shape[1:], batch.device)
            self.tables[name][where] = batch

    def finish(self, description: str, device: torch.device) -> dict[str, FeatureShard]:
        """Check that each image occurs once, and complete the tables of every row.

        Args:
            description: Beginning of the error message.
            device: Device of the model.

        Returns:
            The rows of this process by name of the backbone; all rows if ``whole`` is true.

        Raises:
            InputError: If an image is missing, repeated, or on a process that
                ``EVALUATION_SAMPLER`` does not assign it to.
        """
        if self.images < world_size():
            self._allocate_unused(device)
        known = [torch.zeros(0, dtype=torch.int64), *self.labels]
        labels = gather_rows(torch.cat([part.to(device) for part in known]))
        order = gather_rows(torch.tensor(self.seen, dtype=torch.int64, device=device))
        seen = sorted(order.tolist())
        if not true_on_all(self.placed) or seen != list(range(self.images)):
            raise InputError(
                f"{description}: {len(seen)} rows of {len(set(seen))} images for a data set of "
                f"{self.images}, but each image must occur once; set on_error='stop' in LoadImage "
                f"and the sampler {EVALUATION_SAMPLER}"
            )
        if self.whole:
            for table in self.tables.values():
                fill_rows(table)
        rows = torch.arange(self.images, device=device)
        if not self.whole:
            rows = rows[rank() :: world_size()].contiguous()
        labels = labels[order.argsort()]
        return {name: FeatureShard(table, rows, labels) for name, table in self.tables.items()}

    def _allocate(self, shape: Sequence[int], device: torch.device) -> Tensor:
        rows = self.images if self.whole else len(self.mine)
        return torch.empty((rows, *shape), dtype=self.dtype, device=device)

    def _allocate_unused(self, device: torch.device) -> None:
        # A process without images learns the width of the features from the others.
        known: dict[str, torch.Size] = {}
        for found in gather_objects({name: t.shape[1:] for name, t in self.tables.items()}):
            known |= found
        for name in self.names:
            if name in known and name not in self.tables:
                self.tables[name] = self._allocate(known[name], device)


def _selection(indices: Sequence[int]) -> slice | list[int]:
    """Return the indices as a slice if they ascend in equal steps, which copies without a table."""
    first, last = indices[0], indices[-1]
    step = max(1, (last - first) // max(1, len(indices) - 1))
    regular = range(first, last + 1, step)
    return slice(first, last + 1, step) if list(indices) == list(regular) else list(indices)
