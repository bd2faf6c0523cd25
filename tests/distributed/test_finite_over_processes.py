"""A loss that is not finite on one process stops all of them at the same iteration, once."""

import math
import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist

from bam_mm.hooks.check_finite import CheckFiniteHook, stop_together
from bam_mm.hooks.finiteness import NotFiniteError
from tests.distributed.test_loss_over_processes import free_port
from tests.hooks.test_check_finite import Iterations


def work(rank, port, results):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    stop_together(None)
    run = Iterations(CheckFiniteHook(interval=4))
    try:
        # Only the second process has a loss that is not finite, in iteration 6.
        run.feed(*[torch.tensor(math.nan if (rank, n) == (1, 6) else 1.0) for n in range(1, 12)])
    except NotFiniteError as error:
        results.put((rank, run.runner.iter + 1, str(error)))
    dist.destroy_process_group()


def test_one_process_stops_all():
    context = multiprocessing.get_context("fork")  # The packages are imported already.
    results, port = context.Queue(), free_port()
    processes = [context.Process(target=work, args=(rank, port, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    try:
        found = sorted(results.get(timeout=60) for _ in processes)
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    assert [entry[:2] for entry in found] == [(0, 8), (1, 8)]
    assert (
        found[0][2] == found[1][2] and "iteration 6, learning rate 0.5: loss is nan" in found[0][2]
    )


@pytest.mark.parametrize("message", [None, "here"])
def test_a_single_process_decides_alone(message):
    if message is None:
        stop_together(None)
    else:
        with pytest.raises(NotFiniteError, match=message):
            stop_together(message)
