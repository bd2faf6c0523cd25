"""Collective operations. This is the only module that communicates with other processes.

If no process group is initialised, or the group has a single process, every function is the
identity or the plain local operation, so callers do not have to check. Gradients are propagated
only where the docstring states it.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather as _all_gather_with_gradient

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


def gather_equal(x: Tensor) -> Tensor:
    """Stack ``x`` of all processes. The gradient is propagated to every process.

    Args:
        x: (...) tensor of the same shape on every process.

    Returns:
        (P, ...) tensor for P processes, in the order of their ranks.
    """
    if world_size() == 1:
        return x.unsqueeze(0)
    return torch.stack(list(_all_gather_with_gradient(x.contiguous())))


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes in the order of their ranks, without a gradient.

    Args:
        x: (n, ...) tensor. n may differ between processes, the other dimensions must agree.

    Returns:
        (sum of n, ...) tensor, the same on every process.
    """
    if world_size() == 1:
        return x
    count = torch.tensor([x.shape[0]], device=x.device)
    counts = [torch.zeros_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    longest = int(max(counts))
    padded = x.new_zeros((longest, *x.shape[1:]))
    padded[: x.shape[0]] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])


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
    parts = [torch.empty_like(mine) for _ in range(processes)]
    for first in range(0, len(table), step * processes):
        block = table[first : first + step * processes]
        share = block[rank() :: processes]
        # In the last block, shares are shorter: what follows them is sent and ignored.
        mine[: len(share)] = share
        dist.all_gather(parts, mine)
        for number, part in enumerate(parts):
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
    largest = x.amax(dim=0, keepdim=True)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    # A column that is -inf everywhere has no finite maximum to subtract.
    largest = torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
    total = (x - largest).exp().sum(dim=0, keepdim=True)
    dist.all_reduce(total)
    return total.log() + largest


def mean_over_processes(x: Tensor) -> Tensor:
    """Average ``x`` over all processes, without a gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
        x /= world_size()
    return x


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum ``x`` over all processes, without a gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def gather_objects(x: object) -> list:
    """Gather a small picklable object of every process, in the order of their ranks."""
    if world_size() == 1:
        return [x]
    everything = [None] * world_size()
    dist.all_gather_object(everything, x)
    return everything


def true_on_all(flag: bool) -> bool:
    """Return whether ``flag`` is true on every process. The result is the same on every process."""
    if world_size() == 1:
        return flag
    # NCCL supports GPU tensors only.
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    count = torch.tensor([int(flag)], device=device)
    dist.all_reduce(count, op=dist.ReduceOp.MIN)
    return bool(count)


def barrier() -> None:
    """Wait until every process has reached this point."""
    if world_size() > 1:
        dist.barrier()


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper such as DistributedDataParallel, or the model itself."""
    return getattr(model, "module", model)
