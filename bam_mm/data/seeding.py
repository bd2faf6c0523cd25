"""Random draws of a sample that depend on seed, epoch and sample alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info


class EpochClock:
    """Seed and epoch in shared memory: running (persistent) workers see every change."""

    def __init__(self) -> None:
        # Whether it was set at all, the seed, the epoch.
        self._state = torch.zeros(3, dtype=torch.int64).share_memory_()

    def set(self, seed: int, epoch: int) -> None:
        """Set seed and epoch for all processes that share this clock."""
        self._state.copy_(torch.tensor([1, seed, epoch]))

    def read(self) -> tuple[int, int] | None:
        """Seed and epoch, or None where nobody set them."""
        running, seed, epoch = self._state.tolist()
        return (seed, epoch) if running else None


@contextmanager
def seeded_sample(clock: EpochClock, index: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU) for one sample.

    What is drawn inside follows from (seed, epoch, index): neither from the number of workers or
    processes, nor from what was drawn before. So a resumed epoch sees the views of an uninterrupted
    one, and no two epochs see the same (mmengine seeds a worker once, by its number: workers that
    start anew would repeat their draws in every epoch). In the main process the three states are
    put back, so that loading with no workers leaves the draws of the model alone.

    Args:
        clock: Where seed and epoch stand; without them nothing is seeded.
        index: Of the sample in its data set.
    """
    now = clock.read()
    if now is None:
        yield
        return
    in_main_process = get_worker_info() is None
    kept = cpu_random_states() if in_main_process else None
    words = np.random.SeedSequence([*now, index]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    # torch.manual_seed would seed the GPU as well.
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        if kept is not None:
            restore_cpu_random_states(kept)


def cpu_random_states() -> dict:
    """States of Python's, NumPy's and torch's global generators, as tensors and plain values."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": (version, list(words), gauss),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }


def restore_cpu_random_states(states: dict) -> None:
    """Put back what :func:`cpu_random_states` took."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(cached)))
    torch.set_rng_state(states["torch"].cpu())
