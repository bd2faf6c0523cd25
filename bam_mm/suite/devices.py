"""The GPUs of this machine, and how workers share them out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

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


def gpu_shares(gpus: Sequence[str], per_run: int) -> list[tuple[str, ...]]:
    """Distribute GPUs among workers, each of which works on one run at a time.

    Args:
        gpus: Entries for ``CUDA_VISIBLE_DEVICES``, see :func:`visible_gpus`.
        per_run: Number of GPUs of a run, one for each of its processes.

    Returns:
        The GPUs of each worker in the given order; empty without a GPU. GPUs that are left over,
        too few for a run, are not used.

    Raises:
        InputError: If there are GPUs, but fewer than a run needs.
    """
    if gpus and len(gpus) < per_run:
        raise InputError(
            f"--gpus-per-run {per_run}: each process needs its own GPU, and only {len(gpus)} can "
            f"be used ({', '.join(gpus)}); use --gpus-per-run {len(gpus)}, or the CPU with "
            f"{VISIBLE}=-1"
        )
    count = len(gpus) // per_run
    return [tuple(gpus[n * per_run : (n + 1) * per_run]) for n in range(count)]


def gpu_names(gpus: Sequence[str]) -> str:
    """Return the GPUs of a run for a log: ``GPU 0, 1``, or their UUIDs."""
    names = ", ".join(gpus)
    return names if names.startswith(("GPU-", "MIG-")) else f"GPU {names}"
