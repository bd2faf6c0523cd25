"""The number of skipped images, alone and over two processes whose backend refuses CPU tensors."""

import os
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bam_mm.hooks import SkippedImagesHook
from tests.distributed.test_loss_over_processes import free_port


def warnings_for(*counts, scalars=None):
    """Return what the hook logs for transforms with these shared counters."""
    logged = []
    scalars = [] if scalars is None else scalars
    transforms = [SimpleNamespace(skipped=torch.tensor([n]).share_memory_()) for n in counts]
    pipeline = SimpleNamespace(transforms=[*transforms, object()])
    dataset = SimpleNamespace(pipeline=pipeline)
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset),
        logger=SimpleNamespace(warning=logged.append),
        visualizer=SimpleNamespace(add_scalars=lambda values, step: scalars.append((step, values))),
        iter=12,
    )
    SkippedImagesHook().after_train_epoch(runner)
    return logged


def test_nothing_skipped_is_not_logged():
    assert warnings_for() == [] and warnings_for(0, 0) == []
    scalars = []
    [line] = warnings_for(2, 1, scalars=scalars)
    assert scalars == [(12, {"skipped_images": 3})]
    assert line.startswith("3 unreadable image(s) skipped so far")


def work(rank, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)

    def refuse(tensor, *args, **kwargs):
        raise RuntimeError("No backend type associated with device type cpu")  # NCCL's message

    dist.all_reduce = refuse
    torch.save(warnings_for(rank + 3), f"{out}/{rank}.pth")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_without_a_collective_of_cpu_tensors(tmp_path):
    mp.spawn(work, args=(free_port(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        [line] = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert line.startswith("7 unreadable image(s)")
