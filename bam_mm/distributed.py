"""Collective operations. This is the only module that communicates with other processes.

If no process group is initialised, or the group has a single process, every function is the
identity or the plain local operation, so callers do not have to check. Gradients are propagated
only where the docstring states it.

Arguments may lie on any device, whatever the backend of the group supports (NCCL: GPU tensors
only). Every tensor passes through :func:`communicable` before a collective, and every result is
returned on the device of the argument.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

PIECE_BYTES = 1 << 24
"""Number of bytes that a large table is sent in at a time, of all processes together."""


def world_size() -> int:
    """Return the number of processes in the default group, 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process in the default group, 0 without a group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def start_on_cpu() -> None:
    """Join the process group of torchrun with gloo. mmengine itself needs one GPU per process."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")


def communicable(x: Tensor) -> Tensor:
    """Return ``x`` in a form that the default group can communicate.

    Args:
        x: Tensor on any device.

    Returns:
        ``x`` itself if it is contiguous and on a device that a backend of the group supports.
        Otherwise a contiguous copy: on the CPU if a backend supports it, else on the device of the
        group, for NCCL the current GPU.
    """
    supported = [pair.split(":")[0] for pair in dist.get_backend_config().split(",")]
    if x.device.type not in supported:
        bound = dist.distributed_c10d._get_default_group().bound_device_id
        x = x.to("cpu" if "cpu" in supported else bound or supported[0])
    return x.contiguous()


def gather_equal(x: Tensor) -> Tensor:
    """Stack ``x`` of all processes. The gradient is propagated to every process.

    Args:
        x: (...) tensor of the same shape on every process.

    Returns:
        (P, ...) tensor for P processes, in the order of their ranks.
    """
    if world_size() == 1:
        return x.unsqueeze(0)
    return _Stack.apply(x)


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes in the order of their ranks, without a gradient.

    Args:
        x: (n, ...) tensor. n may differ between processes, the other dimensions must agree.

    Returns:
        (sum of n, ...) tensor, the same on every process.
    """
    if world_size() == 1:
        return x
    x = x.detach()
    counts = _stack(torch.tensor(len(x))).tolist()
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[: len(x)] = x
    parts = _stack(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def fill_rows(table: Tensor) -> None:
    """Fill a table in place, of which each process has every P-th row, without a gradient.

    In addition to the table, the memory is that of ``PIECE_BYTES``, whatever its size.

    Args:
        table: (N, ...) contiguous tensor of the same shape on every process. Of P processes, the
            one with rank r has computed the rows r, r + P, r + 2 P and so on; the others are
            overwritten, so that the tables are then equal.
    """
    processes = world_size()
    if processes == 1 or not len(table):
        return
    row_bytes = max(1, table[0].numel() * table.element_size())
    step = min(max(1, PIECE_BYTES // (row_bytes * processes)), -(-len(table) // processes))
    mine = table.new_zeros((step, *table.shape[1:]))
    for first in range(0, len(table), step * processes):
        block = table[first : first + step * processes]
        share = block[rank() :: processes]
        # In the last block, shares are shorter: what follows them is sent and ignored.
        mine[: len(share)] = share
        for number, part in enumerate(_stack(mine)):
            share = block[number::processes]
            share.copy_(part[: len(share)])


def logsumexp_rows(x: Tensor) -> Tensor:
    """Compute the log-sum-exp over the rows of all processes for each column, without a gradient.

    Args:
        x: (r, ...) rows of this process. Entries may be -inf.

    Returns:
        (1, ...) tensor, the same on every process.
    """
    if world_size() == 1:
        return x.logsumexp(dim=0, keepdim=True)
    largest = _reduce(x.amax(dim=0, keepdim=True), dist.ReduceOp.MAX)
    # A column that is -inf everywhere has no finite maximum to subtract.
    largest = torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
    return _reduce((x - largest).exp().sum(dim=0, keepdim=True)).log() + largest


def mean_over_processes(x: Tensor) -> Tensor:
    """Average ``x`` over all processes, without a gradient."""
    return sum_over_processes(x).div_(world_size()) if world_size() > 1 else x.detach().clone()


def mean_where_different(x: Tensor) -> Tensor:
    """Average ``x`` over all processes, without a gradient, except where all of them agree.

    Args:
        x: Floating-point tensor of the same shape on every process.

    Returns:
        Tensor of the same shape. Entries that are equal on all processes are returned as they are:
        the mean of three equal numbers can differ from them in the last bit.
    """
    x = x.detach()
    if world_size() == 1:
        return x.clone()
    largest, negated_smallest = _reduce(torch.stack([x, -x]), dist.ReduceOp.MAX)
    return torch.where(largest == -negated_smallest, x, mean_over_processes(x))


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum ``x`` over all processes, without a gradient."""
    x = x.detach().clone()
    return _reduce(x) if world_size() > 1 else x


def gather_objects(x: object) -> list:
    """Gather a small object of every process, in the order of their ranks.

    Args:
        x: Numbers, strings, tensors on any device, and dicts, lists and tuples of these.

    Returns:
        Copies of the objects, whose tensors are on the CPU: a GPU tensor would otherwise be
        restored on the GPU of the process that it comes from.
    """
    file = io.BytesIO()
    torch.save(_map_tensors(Tensor.cpu, x), file)
    data = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
    counts = gather_rows(torch.tensor([len(data)])).tolist()
    parts = gather_rows(data).split(counts)
    files = [io.BytesIO(part.numpy().tobytes()) for part in parts]
    return [torch.load(file, weights_only=True) for file in files]


def true_on_all(flag: bool) -> bool:
    """Return whether ``flag`` is true on every process. The result is the same on every process."""
    if world_size() == 1:
        return flag
    return bool(_reduce(torch.tensor(int(flag)), dist.ReduceOp.MIN))


def barrier() -> None:
    """Wait until every process has reached this point."""
    # Reading the result waits for the device too, and NCCL cannot guess a wrong one.
    true_on_all(True)


class _Stack(Function):
    """Stack the tensors of all processes; the gradient of a tensor is summed over processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _stack(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _SumOfRank.apply(grad)


class _SumOfRank(Function):
    """Sum (P, ...) tensors over the processes, and return the row of this process."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        sent = communicable(x.flatten())
        own = communicable(sent.new_empty(x[0].numel()))
        dist.reduce_scatter_tensor(own, sent)
        return own.view(x.shape[1:]).to(x.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Stack.apply(grad)


def _stack(x: Tensor) -> Tensor:
    """Gather tensors (...) of the same shape on all processes: (P, ...) on the device of ``x``."""
    sent = communicable(x.flatten())
    gathered = communicable(sent.new_empty(world_size() * sent.numel()))
    dist.all_gather_into_tensor(gathered, sent)
    return gathered.view(world_size(), *x.shape).to(x.device)


def _reduce(x: Tensor, op: Any = dist.ReduceOp.SUM) -> Tensor:
    """Reduce ``x`` over all processes, in place where possible: use the returned tensor only."""
    reduced = communicable(x)
    dist.all_reduce(reduced, op=op)
    return reduced.to(x.device)


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper such as DistributedDataParallel, or the model itself."""
    return getattr(model, "module", model)


def whole_tensors(x: Any) -> Any:
    """Gather every sharded tensor in a nested structure; every process must call this function.

    Args:
        x: Dicts, lists and tuples of any values; their order must be the same on every process.

    Returns:
        The same structure. The first process gets the gathered tensors on the CPU; elsewhere they
        are empty, because whole copies of a sharded model may not fit.
    """
    return _map_tensors(_whole_tensor, x)


def shard_like(x: Tensor, other: Tensor) -> Tensor:
    """Divide a tensor among the processes like another one, or return it if that one is whole.

    Args:
        x: (...) tensor, the same on every process.
        other: (...) tensor of the same shape.
    """
    if not isinstance(other, _dtensors().DTensor):
        return x
    sharded: Any = other
    return _dtensors().distribute_tensor(
        x.to(other.device), sharded.device_mesh, sharded.placements
    )


def is_sharded(module: nn.Module) -> bool:
    """Return whether parameters of a module are divided among the processes."""
    return any(True for _ in _sharded_parts(module))


@contextmanager
def whole_parameters(*modules: nn.Module) -> Iterator[None]:
    """Hold all parameters of sharded modules on every process; do nothing with other modules.

    A forward pass of a sharded module gathers its parameters, for which every process must run it
    equally often. In this context, no process waits for another one.

    Args:
        *modules: Modules that run without gradients; every process must enter the context.
    """
    parts = [part for module in modules for part in _sharded_parts(module)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def whole_everywhere(x: Tensor) -> Tensor:
    """Return a sharded tensor as a whole one on every process, and another one as it is."""
    return x.full_tensor() if isinstance(x, _dtensors().DTensor) else x


def own_part(x: Tensor) -> Tensor:
    """Return the part of a sharded tensor on this process, and another tensor as it is."""
    shard: Any = x
    return shard.to_local() if world_size() > 1 and isinstance(x, _dtensors().DTensor) else x


def _sharded_parts(module: nn.Module) -> Iterator[Any]:
    # torch gives the class of each module that it shards this method.
    return (part for part in module.modules() if hasattr(part, "set_reshard_after_forward"))


def _whole_tensor(x: Tensor) -> Tensor:
    if not isinstance(x, _dtensors().DTensor):
        return x
    whole = x.full_tensor()
    # A copy, because a gathered tensor may be a view of a longer one.
    return whole.to("cpu", copy=True) if rank() == 0 else whole.new_empty(0)


def _map_tensors(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Change every tensor in nested dicts, lists and tuples, in their order."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        return type(x)((key, _map_tensors(change, value)) for key, value in x.items())
    if isinstance(x, (list, tuple)):
        return type(x)(_map_tensors(change, value) for value in x)
    return x


def _dtensors() -> ModuleType:
    # Importing it takes as long as the rest of this module's imports, and few runs need it.
    return import_module("torch.distributed.tensor")
