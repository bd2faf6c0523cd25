"""Random draws of a sample that depend only on the seed, the epoch, its index and its visit.

A visit is one loading of an image. Most samplers visit an image once in an epoch; those that visit
it more often (:mod:`bam_mm.data.samplers`) number the visits, so that each has its own draws.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch.utils.data import get_worker_info


class Visit(int):
    """Index of an image, with the number of its visit in the epoch.

    It is a plain int for data sets and transforms. The number survives pickling, because samplers
    run in the main process and the indices are sent to the workers.

    Args:
        index: Index of the image in its data set.
        number: Number of earlier visits of the image in the epoch, over all processes.
    """

    number: int

    def __new__(cls, index: int, number: int) -> Visit:  # noqa: D102
        visit = super().__new__(cls, index)
        visit.number = number
        return visit

    def __reduce__(self) -> tuple[type[Visit], tuple[int, int]]:
        return Visit, (int(self), self.number)


class EpochClock:
    """Seed and epoch in shared memory, where running (persistent) workers see every change."""

    def __init__(self) -> None:
        # Whether seed and epoch are set, the seed, the epoch.
        self._state = torch.zeros(3, dtype=torch.int64).share_memory_()

    def set(self, seed: int, epoch: int) -> None:
        """Set the seed and the epoch for all processes that share this clock."""
        # Copies of a data set (get_subset) copy its clock out of shared memory.
        self._state.share_memory_()
        self._state.copy_(torch.tensor([1, seed, epoch]))

    def read(self) -> tuple[int, int] | None:
        """Return the seed and the epoch, or None if they are not set."""
        is_set, seed, epoch = self._state.tolist()
        return (seed, epoch) if is_set else None


@contextmanager
def seeded_sample(clock: EpochClock, index: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU) for one sample.

    Draws inside this context depend only on (seed, epoch, index, number of the visit), not on the
    number of workers or processes or on earlier draws. A resumed epoch therefore sees the views of
    an uninterrupted one, and every epoch sees different views. (mmengine seeds a worker once by its
    number, so workers that are started in every epoch would repeat their draws.) In the main
    process the three states are restored afterwards, so that loading without workers does not
    change the model's draws.

    Args:
        clock: Clock with the seed and the epoch; if they are not set, nothing is seeded.
        index: Index of the sample in its data set. A plain int is the first visit of the sample in
            the epoch; a :class:`Visit` has its number.
    """
    now = clock.read()
    if now is None:
        yield
        return
    in_main_process = get_worker_info() is None
    saved = cpu_random_states() if in_main_process else None
    number = index.number if isinstance(index, Visit) else 0
    # The first visit has no word for its number, so its draws are those of a run without repeats.
    entropy = [*now, int(index), *([number] if number else [])]
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    # torch.manual_seed would seed the GPU as well.
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        if saved is not None:
            restore_cpu_random_states(saved)


def cpu_random_states() -> dict:
    """Return the states of Python's, NumPy's and torch's global generators.

    They consist of tensors and plain values, which a checkpoint can hold.
    """
    version, words, gauss = random.getstate()
    state = cast(tuple[str, np.ndarray, int, int, float], np.random.get_state())
    _, keys, position, has_gauss, cached = state
    return {
        "python": (version, list(words), gauss),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }


def restore_cpu_random_states(states: dict) -> None:
    """Restore states returned by :func:`cpu_random_states`."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(cached)))
    torch.set_rng_state(states["torch"].cpu())
