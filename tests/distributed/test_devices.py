"""Arguments on any device, for a backend that supports a single kind of device."""

import os
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm import distributed
from tests.distributed import pretended_device
from tests.distributed.pretended_device import PretendedDevice
from tests.distributed.test_loss_over_processes import free_port


def inputs():
    """Return two tensors (2, 4, 3) and (2, 2, 4, 3), whose first dimension is the rank."""
    generator = torch.Generator().manual_seed(3)
    shapes = (2, 4, 3), (2, 2, 4, 3)
    return [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]


def values_of(rank, move):
    """Call each function with arguments of this rank, which ``move`` puts on a device."""
    x, weight = (part[rank] for part in inputs())
    own = move(x).requires_grad_()
    stacked = distributed.gather_equal(own)
    (stacked * move(weight)).sum().backward()
    objects = distributed.gather_objects({"rank": rank, "deep": [(move(x),)]})
    distributed.barrier()
    values = {
        "stacked": stacked.detach(),
        "gradient": own.grad,
        "rows": distributed.gather_rows(move(x[: 1 + rank])),
        "column": distributed.gather_rows(move(x)[:, 1]),  # Not contiguous.
        "logsumexp": distributed.logsumexp_rows(move(x)),
        "mean": distributed.mean_over_processes(move(x).t()),
        "sum": distributed.sum_over_processes(move(x)),
        "count": distributed.sum_over_processes(move(torch.tensor(rank + 5))),
    }
    devices = {value.device.type for value in values.values()} | {move(x).device.type}
    deep = [item["deep"][0][0] for item in objects]
    return {
        **{name: value.cpu() for name, value in values.items()},
        "deep": torch.stack(deep),
        "ranks": [item["rank"] for item in objects],
        "flags": [distributed.true_on_all(True), distributed.true_on_all(rank == 0)],
        "number of devices": len(devices),
    }


def expected(rank):
    x, weight = inputs()
    return {
        "stacked": x,
        "gradient": weight.sum(0)[rank],
        "rows": torch.cat([x[0, :1], x[1, :2]]),
        "column": x[:, :, 1].flatten(),
        "logsumexp": x.flatten(0, 1).logsumexp(0, keepdim=True),
        "mean": x.mean(0).t(),
        "sum": x.sum(0),
        "count": torch.tensor(11),
        "deep": x,
        "ranks": [0, 1],
        "flags": [True, False],
        "number of devices": 1,
    }


def work(rank, port, backend, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    context, there = nullcontext(), "cuda"
    if backend == "pretended":
        context, there = PretendedDevice(), pretended_device.NAME
        dist.get_backend_config = lambda group=None: f"{there}:nccl"
        dist.get_backend = lambda group=None: "nccl"
    moves = [Tensor.cpu]
    if backend in ("pretended", "cuda:gloo"):
        moves.append(lambda x: x.to(there))
    dist.init_process_group(backend.replace("pretended", "gloo"), rank=rank, world_size=2)
    with context:
        results = [values_of(rank, move) for move in moves]
    torch.save(results, f"{out}/{rank}.pth")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "backend, devices",
    [
        ("pretended", 2),  # Refuses CPU tensors.
        ("cpu:gloo", 1),  # torch differentiates collectives in another way than for "gloo".
        pytest.param("cuda:gloo", 2, marks=pytest.mark.gpu),  # Two processes on one GPU.
    ],
)
def test_every_function_on_every_device(backend, devices, tmp_path):
    if backend == "cuda:gloo" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    start = "fork" if backend != "cuda:gloo" else "spawn"
    args = (free_port(), backend, tmp_path)
    mp.start_processes(work, args=args, nprocs=2, start_method=start)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert len(results) == devices
        for result in results:
            torch.testing.assert_close(result, expected(rank), atol=1e-12, rtol=0)


@pytest.fixture
def group():
    """A function that makes this process the only one of a group with a backend."""

    def join(backend):
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)

    yield join
    dist.destroy_process_group()


def test_a_backend_for_gpus_only(group):
    group("cuda:gloo")
    with pytest.raises(RuntimeError, match="No backend type associated with device type cpu"):
        dist.all_reduce(torch.ones(1))
    with FakeTensorMode():  # Tensors without data, on any device.
        assert distributed.communicable(torch.ones(1)).device == torch.device("cuda:0")
        there = torch.ones(1, device="cuda:0")
        assert distributed.communicable(there) is there


@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo", "cpu:gloo,cuda:gloo"])
def test_nothing_moves_without_need(group, backend):
    group(backend)
    x = torch.arange(6.0).view(2, 3)
    assert distributed.communicable(x) is x
    turned = distributed.communicable(x.t())
    assert turned.is_contiguous() and torch.equal(turned, x.t())
    with FakeTensorMode():
        there = torch.ones(1, device="cuda:0")
        assert (distributed.communicable(there) is there) == (backend != "cpu:gloo")
        assert distributed.communicable(torch.ones(1, device="xpu:0")).device.type == "cpu"
