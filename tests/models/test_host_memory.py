"""Freed memory stays in the process while features are extracted, and is returned afterwards."""

import ctypes
import os
import resource
import sys

import numpy as np
import pytest
import torch

from bam_mm.models.host_memory import OF_THE_USER, freed_memory_kept
from tests.distributed.processes import run_processes
from tests.models.fake_features import resident_mb

CPU, MIB = torch.device("cpu"), 1 << 20
PAGES = 5 * 192 / 2
"""Number of pages in five tensors of 192 MiB, if the system gives out pages of 2 MiB."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in (*OF_THE_USER, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def new_pages():
    """Write to memory above every threshold of glibc five times, and count the pages it gets."""
    # Not torch: it asks for aligned memory, which may not fit into the hole of the tensor before.
    np.ones(48 * MIB, np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(48 * MIB, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def work(rank, world):
    for name in (*OF_THE_USER, "GLIBC_TUNABLES"):
        os.environ.pop(name, None)
    before, outside = resident_mb(), new_pages()
    assert outside >= PAGES
    with freed_memory_kept(CPU):
        inside = new_pages()
        assert inside < outside / 4, (inside, outside)
        assert resident_mb() > before + 180
    assert resident_mb() < before + 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults of Linux")
def test_pages_are_used_again_and_then_returned():
    run_processes(work, 1)


class Libc:
    """A C library that writes down its calls."""

    def __init__(self):
        self.calls = []

    def mallopt(self, setting, value):
        self.calls.append((setting, value))

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def libc(monkeypatch):
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(sys, "platform", "linux")
    return libc


def test_an_error_ends_it(libc):
    with pytest.raises(ValueError), freed_memory_kept(CPU):
        assert libc.calls == [(-4, 0), (-1, -1)]
        raise ValueError
    assert dict(libc.calls[2:-1]) == {-4: 65536, -3: 32 * MIB, -1: 64 * MIB}
    assert libc.calls[-1] == "trim"


@pytest.mark.parametrize(
    "name, value",
    [("MALLOC_MMAP_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")],
)
def test_settings_of_the_user_stay(libc, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with freed_memory_kept(CPU):
        pass
    assert libc.calls == []


def test_nothing_changes_for_a_gpu_or_without_glibc(libc, monkeypatch):
    with freed_memory_kept(torch.device("cuda")):
        pass
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept(CPU):
        pass
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delattr(Libc, "mallopt")  # musl
    with freed_memory_kept(CPU):
        pass
    assert libc.calls == []
