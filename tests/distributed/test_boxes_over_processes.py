"""Boxes on two gloo processes equal those on one, for an odd number of images."""

import pytest
import torch

from bam_mm.data.toy import make_world
from tests.distributed.processes import run_processes
from tests.hooks.test_box_update import COUNT, runner_of


def boxes_of(images, weights, work_dir, **options):
    """Return the hook's boxes for given weights, and the number of images of this process."""
    runner, hook = runner_of(images, work_dir, load_from=str(weights), **options)
    runner.train_loop  # noqa: B018  (built at first use)
    runner.load_or_resume()
    hook.before_train(runner)
    runner.train_loop._epoch = 1
    hook.before_train_epoch(runner)
    assert hook.store.active
    return hook.store.boxes.clone(), len(hook.images.sampler)


def work(rank, world, images, weights, out):
    boxes, share = boxes_of(images, weights, out / "two", launcher="pytorch")
    torch.save(dict(boxes=boxes, share=share), out / f"{rank}.pt")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.001)
    return out / "images"


def test_one_process_equals_two(images, tmp_path):
    runner, _ = runner_of(images, tmp_path / "weights")
    torch.manual_seed(3)
    # Large weights, so that heat maps differ between images.
    state = {
        k: torch.randn_like(v) * 0.3 if v.is_floating_point() else v
        for k, v in runner.model.state_dict().items()
    }
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    whole, share = boxes_of(images, tmp_path / "w.pth", tmp_path / "one")
    assert share == COUNT == 9 and len({tuple(box) for box in whole.tolist()}) > 3
    run_processes(work, 2, images, tmp_path / "w.pth", tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert sorted(part["share"] for part in parts) == [4, 5]
    for part in parts:
        assert torch.equal(part["boxes"], whole)
