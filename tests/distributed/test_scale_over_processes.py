"""The formulas of benchmarks/scale.py equal what real steps over 2 and 3 processes communicate."""

from collections import Counter

import pytest
import torch
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper

from bam_mm.distributed import gather_rows
from bam_mm.hooks.collapse_monitor import feature_std
from benchmarks.counted_collectives import Call, CountedCollectives
from benchmarks.counted_networks import parameters_of
from benchmarks.scale_formulas import (
    Step,
    buckets_of,
    gathered_rows,
    gradient_collectives,
    loss_collectives,
    monitor_collectives,
    sync_bn_collectives,
)
from tests.distributed.processes import run_processes
from tests.distributed.sync_bn_on_cpu import sync_bn_on_cpu
from tests.models.test_bam import build, views

WIDTH, BATCH, BUCKET = 12, 5, 4096
RESNET = dict(
    backbone=dict(type="ResNet", depth=18, base_channels=4, stem_channels=4),
    neck=dict(type="bam_mm.BAMProjector", in_channels=32, hid_channels=24, out_channels=WIDTH),
)
RESNET_LAYERS = 20


class Trained:
    """A model in the wrapper that mmengine trains with, and its steps."""

    def __init__(self, bucket=None, synced=False, **config):
        self.model = build(**config).train()
        self.order = []
        for p in self.model.parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(lambda p: self.order.append(p.numel()))
        options = {} if bucket is None else dict(bucket_cap_mb=bucket / 2**20)
        self.wrapped = MMDistributedDataParallel(self.model, broadcast_buffers=False, **options)
        if synced:  # only now, since DistributedDataParallel wants such layers on a GPU
            convert_sync_batchnorm(self.model, "torch")
        self.optimizer = OptimWrapper(torch.optim.AdamW(self.model.parameters(), lr=1e-3))

    def step(self):
        """Run a step; return its calls and the elements of the gradients in their order."""
        self.order.clear()
        inputs = [view.abs().mul(40).byte() for view in views(BATCH)]
        with CountedCollectives() as counted:
            self.wrapped.train_step(dict(inputs=inputs, data_samples=None), self.optimizer)
        self.model.update_teacher(0.9)
        return counted.calls, list(self.order)


def after_two_steps(trained):
    # The buckets follow the order of the gradients from the second step on, in which the processes
    # agree on them.
    trained.step()
    trained.step()
    return trained.step()


def everything(rank, world):
    torch.manual_seed(rank)
    out = {"step": after_two_steps(Trained(bucket=BUCKET))}
    wide = dict(type="bam_mm.BAMProjector", in_channels=16, hid_channels=600, out_channels=WIDTH)
    out["wide"] = after_two_steps(Trained(neck=wide))
    cold = Trained(head=dict(type="bam_mm.BAMHead", target_temperature=0.004, sinkhorn_iters=2))
    out["cold"] = after_two_steps(cold)
    watched = Trained()
    watched.model.head.monitor = True
    calls, order = after_two_steps(watched)
    with CountedCollectives() as counted:
        feature_std(watched.model.last_projection)
    out["monitor"] = calls + counted.calls, order
    resnet = Trained(synced=True, **RESNET)
    with sync_bn_on_cpu():
        out["SyncBN"] = after_two_steps(resnet)
    out["channels"] = parameters_of(build(**RESNET)).synced
    with CountedCollectives() as counted:
        gather_rows(torch.zeros(len(range(rank, 7, world)), 3))
    out["rows"] = counted.calls
    return out


def plain(x):
    """Replace calls by tuples, which can be read without running code."""
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    return tuple(map(plain, x)) if isinstance(x, (list, tuple)) else x


def work(rank, world, out):
    torch.save(plain(everything(rank, world)), f"{out}/{world}_{rank}.pt")


@pytest.fixture(scope="module")
def all_counts(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    for world in (2, 3):
        run_processes(work, world, str(out))
    return {
        world: [torch.load(out / f"{world}_{r}.pt", weights_only=True) for r in range(world)]
        for world in (2, 3)
    }


@pytest.fixture(params=[2, 3])
def counts(request, all_counts):
    return request.param, all_counts[request.param]


def step_of(processes, **options):
    return Step(BATCH, processes, num_views=4, num_global=2, width=WIDTH, **options)


def calls_of(collectives):
    return Counter(call for part in collectives for call in part.calls)


def check(counts, name, *others, first=1 << 20, other=25 << 20, **options):
    """Compare the calls of each process with the formulas, and return the number of buckets."""
    processes, ranks = counts
    for rank in ranks:
        calls, order = rank[name]
        buckets = buckets_of(order, first, other)
        wanted = gradient_collectives(buckets) + loss_collectives(step_of(processes, **options))
        assert Counter(calls) == calls_of([*wanted, *(part for list_ in others for part in list_)])
        trained = [p.numel() for p in build().parameters() if p.requires_grad]
        if name == "step":
            assert sorted(order) == sorted(trained) and sum(buckets) == sum(trained)
    return len(buckets)


@pytest.mark.slow
def test_a_step_reduces_gradients_and_gathers_keys(counts):
    assert check(counts, "step", first=BUCKET, other=BUCKET) > 3
    # torch's own limits: 1 MiB, then 25 MiB.
    assert check(counts, "wide") == 2


@pytest.mark.slow
def test_balancing_in_logarithms(counts):
    check(counts, "cold", iterations=2, in_logs=True)


@pytest.mark.slow
def test_a_step_with_the_monitor(counts):
    check(counts, "monitor", monitor_collectives(step_of(counts[0])))


@pytest.mark.slow
def test_sync_batch_norm(counts):
    channels = counts[1][0]["channels"]
    assert len(channels) == RESNET_LAYERS
    check(counts, "SyncBN", sync_bn_collectives(channels))


@pytest.mark.slow
def test_gathered_rows_are_padded_to_the_longest_part(counts):
    processes, ranks = counts
    for rank in ranks:
        assert Counter(rank["rows"]) == calls_of(gathered_rows(7, 3, processes, torch.float32))


@pytest.mark.slow
def test_a_hand_count_of_a_step(counts):
    # Two global views of 5 images, 12 wide; one sum for each key in each of three iterations.
    processes, ranks = counts
    calls = Counter(ranks[0]["step"][0])
    assert calls[Call("all_gather", torch.float32, 2 * BATCH * WIDTH)] == 1
    assert calls[Call("all_reduce", torch.float32, 2 * BATCH * processes)] == 3
    assert calls[Call("all_reduce", torch.float32, 1)] == 1
    assert not any(dtype != torch.float32 for _, dtype, _ in calls)
