"""Collectives: the only file that talks to other processes.

Every function is the identity, or the plain local operation, where no process group is initialised
or it has one member, so callers never ask. The functions with a gradient say so.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather as _all_gather_with_gradient


def world_size() -> int:
    """Number of processes in the default group, 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number in the default group, 0 without a group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def start_on_cpu() -> None:
    """Join the process group of torchrun over gloo; mmengine's own start wants a GPU a process."""
    if not dist.is_initialized():
        dist.init_process_group("gloo")


def gather_equal(x: Tensor) -> Tensor:
    """Stack the equally shaped ``x`` of all processes; the gradient flows to every process.

    Args:
        x: Tensor of the same shape (...) on every process.

    Returns:
        (P, ...) with P processes, in the order of their ranks.
    """
    if world_size() == 1:
        return x.unsqueeze(0)
    return torch.stack(list(_all_gather_with_gradient(x.contiguous())))


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate rows of all processes in the order of their ranks, without a gradient.

    Args:
        x: (n, ...) with its own n on each process; the other dimensions agree.

    Returns:
        (sum of n, ...).
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


def logsumexp_rows(x: Tensor) -> Tensor:
    """Log-sum-exp over the rows of all processes, column by column, without a gradient.

    Args:
        x: (r, ...), each process with its own rows; entries may be -inf.

    Returns:
        (1, ...), the same on every process.
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
    """Mean of ``x`` over the processes, without a gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
        x /= world_size()
    return x


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum of ``x`` over the processes, without a gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def gather_objects(x: object) -> list:
    """What every process holds, in the order of their ranks: small things of plain types."""
    if world_size() == 1:
        return [x]
    everything = [None] * world_size()
    dist.all_gather_object(everything, x)
    return everything


def true_on_all(flag: bool) -> bool:
    """Whether ``flag`` is true on every process; the same answer on each."""
    if world_size() == 1:
        return flag
    # NCCL moves tensors of the GPU only.
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    count = torch.tensor([int(flag)], device=device)
    dist.all_reduce(count, op=dist.ReduceOp.MIN)
    return bool(count)


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside a wrapper such as DistributedDataParallel, or the model itself."""
    return getattr(model, "module", model)
