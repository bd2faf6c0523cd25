"""Memory of the C library while a network runs on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Numbers of settings in glibc's malloc.h."""

NEVER = -1
LARGEST_MMAP_THRESHOLD = 32 << 20
"""Bytes to which glibc itself raises its threshold in a process that frees large blocks."""

OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""Variables of the environment with which a user has chosen these settings."""


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Keep freed memory in the process for the next tensor, and return it to the system afterwards.

    By default, glibc returns every block above 32 MiB to the system as soon as it is free, and the
    system clears each page before it gives it out again. The maps of a convolutional network at
    224 px are such blocks: with a batch of 64, clearing took two thirds of the time. The peak of
    the memory is higher by up to a quarter, since blocks of other sizes leave holes. Without glibc,
    on another device, or where the environment sets glibc's thresholds, nothing is changed. The
    settings are those of the whole process.

    Args:
        device: Device on which the network runs.
    """
    libc = ctypes.CDLL(None) if device.type == "cpu" and sys.platform == "linux" else None
    mallopt = getattr(libc, "mallopt", None)
    if libc is None or mallopt is None or _chosen_by_user():
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 1 << 16)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def _chosen_by_user() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name in os.environ for name in OF_THE_USER)
