"""The collapse monitor in models wrapped for two gloo processes logs the values of one process."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from bam_mm import BAM
from bam_mm.hooks import CollapseMonitorHook
from tests.distributed import test_library_methods_over_processes as library
from tests.distributed.processes import run_processes
from tests.methods.tiny import images, layout_of, network_model

BATCH, STEPS, RATE = 6, 2, 0.5
MODELS = ("SimCLR", "BAM")
"""One whose projections are outputs of its neck, and one that keeps them."""
ENTROPIES = {"train/attention_entropy", "train/target_entropy"}


def build(name):
    # No network has BatchNorm, whose statistics would be those of each process.
    return network_model(BAM, layout_of()) if name == "BAM" else library.build(name)


def monitored(name, rank=0, world=1, wrap=lambda model: model):
    """Train on the images of a process, and return what the hook logs in each iteration."""
    model = wrap(build(name))
    # mmpretrain's SimCLR divides the gradient by the number of processes.
    rate = RATE * world if name == "SimCLR" else RATE
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
    hook = CollapseMonitorHook(interval=1)
    logged, found = [], {}
    hub = SimpleNamespace(update_scalar=found.__setitem__)
    runner = SimpleNamespace(model=model, message_hub=hub)
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for runner.iter in range(STEPS):
        views = [x[share] for x in images(layout_of(), BATCH, seed=runner.iter, channels=3)]
        hook.before_train_iter(runner, runner.iter)
        optimizer.zero_grad()
        model(views, None, mode="loss")["loss"].backward()
        optimizer.step()
        hook.after_train_iter(runner, runner.iter)
        logged.append(dict(found))
    return logged


def work(rank, world, folder):
    logged = {name: monitored(name, rank, world, MMDistributedDataParallel) for name in MODELS}
    torch.save(logged, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_processes(work, 2, str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", MODELS)
def test_every_process_logs_the_values_of_all_images(processes, name):
    whole = monitored(name)
    keys = {"train/feature_std"} | (ENTROPIES if name == "BAM" else set())
    for found in (results[name] for results in processes):
        assert len(found) == STEPS
        for mine, wanted in zip(found, whole, strict=True):
            assert mine.keys() == keys
            # The hook normalises the rows in float32.
            assert mine == pytest.approx(wanted, rel=1e-6)
    first, second = (values["train/feature_std"] for values in whole)
    assert first > 0.01 and abs(first - second) > 1e-4
    # Half of the images have another spread: the processes have exchanged theirs.
    half = monitored(name, 0, 2)[0]["train/feature_std"]
    assert abs(half - first) > 1e-4
