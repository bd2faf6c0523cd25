"""Tests start processes that end together, and report the one that failed."""

import os

import pytest
import torch.distributed as dist

from tests.distributed.processes import run_processes


def fail(rank, world, way):
    print(f"process {rank} was here")
    dist.barrier()
    if rank == 1 and way == "error":
        raise ValueError("a reason")
    if rank == 1:
        os.abort()
    dist.barrier()


@pytest.mark.parametrize("way, code, reason", [("error", 1, "a reason"), ("abort", -6, "Aborted")])
def test_a_process_that_fails_stops_the_others(way, code, reason):
    with pytest.raises(AssertionError, match=f"process 1 of 2: exit code {code}\n") as error:
        run_processes(fail, 2, way)
    assert "process 0 of 2: stopped\n" in str(error.value)
    assert "process 0 was here\n" in str(error.value)
    assert reason in str(error.value) and "in fail\n" in str(error.value)
