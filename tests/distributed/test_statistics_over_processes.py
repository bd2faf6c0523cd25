"""Statistics of BatchNorm on one, two and three gloo processes; frozen ones keep every bit."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import SyncBuffersHook
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.hooks import FrozenBackboneHook
from bam_mm.models.teacher import MomentumTeacher
from bam_mm.registry import HOOKS
from tests.distributed.test_loss_over_processes import free_port

RUNTIME = Path(__file__).resolve().parents[2] / "configs/_base_/default_runtime.py"
WIDTH = 64


class Norm(nn.Module):
    """A backbone that is one BatchNorm, with a counter and statistics of its own."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("average", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += 1
            self.average.lerp_(x.mean(), 0.5)
        return self.norm(x)


def model_of(rank):
    """Build a model with a frozen part, a part that is trained, a teacher and an unused norm."""
    torch.manual_seed(0)
    model = nn.Module()
    model.backbone, model.neck, model.unused = Norm(), Norm(), Norm()
    model.teacher = MomentumTeacher(Norm(), Norm())
    model.neck.fixed = nn.BatchNorm1d(WIDTH)
    model.neck.fixed.running_mean += rank
    for part in (model.backbone, model.unused):
        part.norm.running_mean.copy_(torch.randn(WIDTH))
        part.norm.running_var.copy_(torch.rand(WIDTH))
    model.train()
    model.backbone.requires_grad_(False).eval()
    model.neck.fixed.eval()
    return model


def images(rank, world):
    x = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(1))
    return x.chunk(world)[rank] + 0.3


def train(rank, world, hook):
    """Train one step of one epoch, and return the model's buffers or the error."""
    model = model_of(rank)
    runner = SimpleNamespace(model=model, iter=1)
    frozen = FrozenBackboneHook()
    frozen.before_train(runner)
    x = images(rank, world)
    model.neck(model.backbone(x))
    model.teacher(2 * x)
    hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    averaged = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        frozen.after_train_epoch(runner)
    except InputError as error:
        return str(error)
    # Nothing was trained since.
    model.neck.norm.running_mean += rank
    hook.before_val_epoch(runner)
    assert model.neck.norm.running_mean.equal(averaged["neck.norm.running_mean"] + rank)
    return averaged


def shipped():
    """Build the hook of the configs."""
    init_default_scope("mmpretrain")
    return HOOKS.build(Config.fromfile(RUNTIME).default_hooks.sync_buffers)


def work(rank, world, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    results = [train(rank, world, shipped())]
    if world == 3:
        mmengine_hook = SyncBuffersHook()
        mmengine_hook.called_in_train = True
        results.append(train(rank, world, mmengine_hook))
    torch.save(results, f"{out}/{world}-{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the results by number of processes, each a list by rank."""
    out = tmp_path_factory.mktemp("ranks")
    for world in (2, 3):
        args = (world, free_port(), out)
        mp.start_processes(work, args=args, nprocs=world, start_method="fork")
    return {1: [[train(0, 1, shipped())]]} | {
        world: [torch.load(out / f"{world}-{rank}.pth", weights_only=True) for rank in range(world)]
        for world in (2, 3)
    }


@pytest.mark.parametrize("world", [1, 2, 3])
def test_frozen_and_unused_parts_keep_every_bit(results, world):
    for rank in range(world):
        after, before = results[world][rank][0], dict(model_of(rank).named_buffers())
        kept = [n for n in before if n.startswith(("backbone.", "unused.", "neck.fixed."))]
        assert len(kept) == 13
        assert [name for name in kept if not torch.equal(after[name], before[name])] == []


@pytest.mark.parametrize("world", [2, 3])
def test_trained_parts_and_the_teacher_equal_one_process(results, world):
    one = results[1][0][0]
    means = [n for n in one if n.endswith((".average", "running_mean")) and "fixed" not in n]
    for rank in range(world):
        many = results[world][rank][0]
        for name in means:  # The average of means is the mean of all images.
            torch.testing.assert_close(many[name], one[name], atol=1e-6, rtol=0)
        for name, value in many.items():
            if "fixed" not in name:
                assert torch.equal(value, results[world][0][0][name])
        for part in ("neck", "teacher.backbone", "teacher.neck"):
            assert many[f"{part}.seen"] == many[f"{part}.norm.num_batches_tracked"] == 1
    moved = [name for name in means if one[name].abs().sum() > 0.1]
    assert {"neck.norm.running_mean", "teacher.backbone.norm.running_mean"} < set(moved)


def test_variances_are_averaged_over_processes(results):
    parts = [images(rank, 3).var(dim=0) for rank in range(3)]  # The teacher's images are doubled.
    expected = 0.9 + 0.1 * 4 * torch.stack(parts).mean(0)
    actual = results[3][1][0]["teacher.backbone.norm.running_var"]
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_the_hook_of_mmengine_changes_the_frozen_part(results):
    for rank in range(3):
        message = results[3][rank][1]
        assert "the backbone is not frozen" in message and "backbone.norm.running" in message
