"""Starts the processes of a gloo group, for tests that compare one, two and three of them."""

import faulthandler
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import wait
from pathlib import Path

import torch
import torch.distributed as dist

PRELOADED = ["mmpretrain.models", "mmpretrain.datasets", "bam_mm.models"]
"""Packages that the server of processes imports once for all of them."""
TIMEOUT = 300
"""Seconds after which processes that wait for each other are stopped."""


def run_processes(work, world, *args):
    """Call ``work(rank, world, *args)`` in each process of a gloo group, with one thread each.

    Args:
        work: Function of a module, since it is found by its name in the new processes.
        world: Number of processes.
        *args: Arguments that can be pickled.

    Raises:
        AssertionError: If a process fails or does not end, with the end of what it printed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_enter, args=(work, rank, world, folder, args))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        end = time.monotonic() + TIMEOUT
        while any(p.exitcode is None for p in processes) and time.monotonic() < end:
            wait([p.sentinel for p in processes if p.exitcode is None], end - time.monotonic())
            # The others would wait for a process that failed.
            if any(p.exitcode for p in processes):
                break
        codes = [p.exitcode for p in processes]
        for process in processes:
            process.kill()
            process.join()
        failed = [
            f"process {rank} of {world}: {'stopped' if code is None else f'exit code {code}'}\n"
            + _end_of(Path(folder, f"{rank}.log"))
            for rank, code in enumerate(codes)
            if code != 0
        ]
    assert not failed, "\n".join(failed)


def _end_of(log):
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(line[:300] for line in lines[-60:])  # One line may list every module.


def _enter(work, rank, world, folder, args):
    log = os.open(Path(folder, f"{rank}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout.reconfigure(line_buffering=True)  # A process that is killed flushes nothing.
    faulthandler.enable()  # A signal prints where it came from.
    torch.set_num_threads(1)
    # mmengine's launcher reads these, and uses a group that exists: it would need a GPU for one.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    code = 1
    try:
        # A file, since a free port may be taken by another test before the group uses it.
        store = f"file://{folder}/group"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
        work(rank, world, *args)
        dist.barrier()
        dist.destroy_process_group()
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # The threads of torch's group live on, and may abort a process that Python takes apart.
    os._exit(code)
