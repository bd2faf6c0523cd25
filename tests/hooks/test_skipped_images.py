"""The number of skipped images, alone and over two processes whose backend refuses CPU tensors."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from bam_mm.hooks import SkippedImagesHook
from tests.distributed.processes import run_processes


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


def work(rank, world, out):
    def refuse(tensor, *args, **kwargs):
        raise RuntimeError("No backend type associated with device type cpu")  # NCCL's message

    dist.all_reduce = refuse
    torch.save(warnings_for(rank + 3), f"{out}/{rank}.pth")


@pytest.mark.slow
def test_two_processes_without_a_collective_of_cpu_tensors(tmp_path):
    run_processes(work, 2, str(tmp_path))
    for rank in range(2):
        [line] = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert line.startswith("7 unreadable image(s)")
