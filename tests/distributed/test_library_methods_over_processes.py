"""What mmpretrain's methods compute over two and three gloo processes with the same images.

These tests describe the library: where a number differs from that of one process, the test says so,
and fails once the library changes.
"""

import pytest
import torch
import torch.distributed as dist
from mmengine.model import BaseModule
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from tests.distributed.processes import run_processes
from tests.methods.test_swav import PROTOTYPES, features, head, loss_module, loss_of
from tests.methods.tiny import images, layout_of
from tests.reference.swav import slow_swav_loss

BATCH, WIDTH, VIEWS = 6, 4, 3
CROSS_ENTROPY = dict(type="CrossEntropyLoss", loss_weight=1.0)
NECK = dict(type="TupleLinear", in_channels=5, out_channels=WIDTH)
PREDICTOR = dict(type="TupleLinear", in_channels=WIDTH, out_channels=WIDTH)
METHODS = {
    "SimCLR": dict(
        neck=NECK, head=dict(type="ContrastiveHead", loss=CROSS_ENTROPY, temperature=0.2)
    ),
    "BYOL": dict(
        neck=NECK,
        head=dict(
            type="LatentPredictHead", loss=dict(type="CosineSimilarityLoss"), predictor=PREDICTOR
        ),
        base_momentum=0.1,
    ),
    "MoCoV3": dict(
        neck=NECK,
        head=dict(type="MoCoV3Head", loss=CROSS_ENTROPY, predictor=PREDICTOR, temperature=0.2),
        base_momentum=0.1,
    ),
}


@MODELS.register_module(force=True)
class TupleLinear(BaseModule):
    """Neck or predictor with mmpretrain's interface: a list in, a tuple out, and no BatchNorm."""

    def __init__(self, in_channels, out_channels, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x):
        x = x[-1]
        return (self.linear(x.mean(dim=(2, 3)) if x.ndim == 4 else x),)


def build(name):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    backbone = dict(type="TinyConvolution")
    return MODELS.build(dict(type=name, backbone=backbone, **METHODS[name])).double().train()


def step(name, rank=0, world=1):
    """Return the loss and the gradients of this process's images, and the state after the pass."""
    model = build(name)
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    views = [x[share] for x in images(layout_of(), BATCH, channels=3)]
    loss = model.loss(views, None)["loss"]
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "gradients": gradients, "state": model.state_dict()}


def mean_over(world, x):
    """Average over the processes, as DistributedDataParallel does with gradients."""
    x = x.clone()
    if world > 1:
        dist.all_reduce(x)
    return x / world


def swav_of(rows, own=False):
    """Return the loss of mmpretrain's or the package's SwAV and the gradient of the prototypes."""
    module = head() if own else loss_module([2, 1])
    loss = loss_of(module, rows, [2, 1])
    loss.backward()
    return {"loss": loss.detach(), "gradients": {"prototypes": module.prototypes.weight.grad}}


def share_of(rows, rank, world):
    per_view = rows.view(VIEWS, BATCH, -1)
    share = BATCH // world
    return per_view[:, rank * share : (rank + 1) * share].flatten(0, 1)


def work(rank, world, folder):
    results = {name: step(name, rank, world) for name in METHODS}
    results["SwAV"] = swav_of(share_of(features(VIEWS, BATCH), rank, world))
    results["SwAVHead"] = swav_of(share_of(features(VIEWS, BATCH), rank, world), own=True)
    for result in results.values():
        result["loss"] = mean_over(world, result["loss"])
        result["gradients"] = {n: mean_over(world, g) for n, g in result["gradients"].items()}
    torch.save(results, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module", params=[2, 3])
def processes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_processes(work, request.param, str(folder))
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(request.param)]


@pytest.mark.parametrize("name", ["BYOL", "MoCoV3"])
def test_byol_and_mocov3_equal_one_process(processes, name):
    whole = step(name)
    for found in (results[name] for results in processes):
        close(found["loss"], whole["loss"])
        assert found["gradients"].keys() == whole["gradients"].keys()
        for part in ("gradients", "state"):
            for key, value in whole[part].items():
                close(found[part][key], value)


def test_simclr_divides_the_gradient_by_the_number_of_processes(processes):
    # Every process computes the loss of all images, but propagates the gradient of its own rows
    # only, and the average over the processes then divides it.
    whole = step("SimCLR")
    for found in (results["SimCLR"] for results in processes):
        close(found["loss"], whole["loss"])
        for key, value in whole["gradients"].items():
            close(found["gradients"][key] * len(processes), value)
            assert value.abs().max() > 1e-4


def test_swav_balances_the_codes_of_each_process_alone(processes):
    # SwAV's paper balances over the images of all processes. distributed_sinkhorn sums the
    # prototypes' shares over processes only inside `if`, for a share of exactly 0.
    world = len(processes)
    rows = features(VIEWS, BATCH)
    whole = swav_of(rows)
    prototypes = loss_module([2, 1]).prototypes.weight.detach()
    prototypes = prototypes / prototypes.norm(dim=1, keepdim=True)
    assert len(prototypes) == PROTOTYPES

    def slow(rows):
        settings = dict(targets=(0, 1), temperature=0.2, epsilon=0.1, iterations=3)
        return slow_swav_loss(rows.chunk(VIEWS), prototypes, **settings).item()

    assert slow(rows) == pytest.approx(whole["loss"].item(), abs=1e-8)
    alone = [slow(share_of(rows, rank, world)) for rank in range(world)]
    for found in (results["SwAV"] for results in processes):
        assert found["loss"].item() == pytest.approx(sum(alone) / world, abs=1e-8)
        assert abs(found["loss"] - whole["loss"]) > 1e-3
        difference = found["gradients"]["prototypes"] - whole["gradients"]["prototypes"]
        assert difference.abs().max() > 1e-3


def test_the_swav_head_of_this_package_equals_one_process(processes):
    whole = swav_of(features(VIEWS, BATCH), own=True)
    close(whole["loss"], swav_of(features(VIEWS, BATCH))["loss"])
    for found in (results["SwAVHead"] for results in processes):
        close(found["loss"], whole["loss"])
        close(found["gradients"]["prototypes"], whole["gradients"]["prototypes"])


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
