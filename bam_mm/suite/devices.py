"""Distribute the GPUs of this machine among runs that are active at the same time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from bam_mm.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that limits a process to some GPUs: numbers, UUIDs or MIG ids."""


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, without initialising CUDA.

    Returns:
        Entries for ``CUDA_VISIBLE_DEVICES``, each of which selects one GPU or MIG instance: those
        of the variable, or 0, 1, ... if it is not set; empty without a GPU.
    """
    with warnings.catch_warnings():
        # torch warns if it finds a driver that it cannot ask.
        warnings.simplefilter("ignore")
        # Counts by NVML, and without it by the driver; neither creates a context on a GPU.
        count = torch.cuda.device_count()
    visible = os.environ.get(VISIBLE)
    if visible is None or count == 0:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in visible.split(",")]
    if names[0].startswith("MIG-"):
        # A process can use only one MIG instance, so that torch counts one, however many are named.
        return [name for name in names if name.startswith("MIG-")]
    # CUDA ignores everything from the first wrong entry on, and so does torch's count.
    return names[:count]


class DevicePool:
    """GPUs from which each run takes its own.

    A run that cannot use the pool leaves ``CUDA_VISIBLE_DEVICES`` as it is: a run without any GPU,
    and a run under Slurm, whose ``srun`` starts processes on other machines and assigns their GPUs.

    Args:
        gpus: Entries for ``CUDA_VISIBLE_DEVICES``, see :func:`visible_gpus`.
        per_run: Number of GPUs of a run, one for each of its processes.

    Raises:
        InputError: If there are GPUs, but fewer than a run needs.
    """

    def __init__(self, gpus: Sequence[str], *, per_run: int) -> None:
        if gpus and len(gpus) < per_run:
            raise InputError(
                f"--gpus {per_run}: each process needs its own GPU, and only {len(gpus)} can be "
                f"used ({', '.join(gpus)}); use --gpus {len(gpus)}, or the CPU with {VISIBLE}=-1"
            )
        self.gpus, self.per_run = tuple(gpus), per_run
        self._free = list(gpus)
        self._lock = threading.Lock()

    @classmethod
    def of_machine(cls, *, launcher: str, processes: int) -> DevicePool:
        """Return the pool of this machine's visible GPUs.

        Args:
            launcher: Launcher of the runs, see :data:`~bam_mm.suite.child_process.LAUNCHERS`.
            processes: Number of processes of each run.
        """
        return cls([] if launcher == "slurm" else visible_gpus(), per_run=processes)

    def limit(self, jobs: int) -> int:
        """Return how many of ``jobs`` runs can be active at the same time."""
        return min(jobs, len(self.gpus) // self.per_run) if self.gpus else jobs

    @contextmanager
    def take(self) -> Iterator[tuple[str, ...]]:
        """Reserve the GPUs of a run for a ``with`` block, however it ends.

        Yields:
            Entries for ``CUDA_VISIBLE_DEVICES`` in the order of the pool; empty without a GPU.

        Raises:
            RuntimeError: If more runs are active than :meth:`limit` allows.
        """
        count = self.per_run if self.gpus else 0
        with self._lock:
            if len(self._free) < count:
                raise RuntimeError(f"{count} GPUs requested, {len(self._free)} of {self.gpus} free")
            taken, self._free = tuple(self._free[:count]), self._free[count:]
        try:
            yield taken
        finally:
            with self._lock:
                self._free = [gpu for gpu in self.gpus if gpu in (*self._free, *taken)]


def gpu_names(gpus: Sequence[str]) -> str:
    """Return the GPUs of a run for a log: ``GPU 0, 1``, or their UUIDs."""
    names = ", ".join(gpus)
    return names if names.startswith(("GPU-", "MIG-")) else f"GPU {names}"
