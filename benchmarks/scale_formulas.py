"""What a pretraining step communicates, stores and waits for, as formulas.

Sizes are in bytes and times in seconds, unless a name ends in another unit. P is the number of
processes, one for each GPU. ``tests/distributed/test_scale_over_processes.py`` compares the
collectives with those that are called by real steps over 2 and 3 processes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.counted_collectives import Call

FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20
"""Sizes at which DistributedDataParallel closes its first and its other buckets by default."""
PREFETCHED = 2
"""Batches that each worker of a torch ``DataLoader`` prepares in advance."""


@dataclass(frozen=True)
class Collective:
    """Equal collective calls.

    Attributes:
        what: Purpose.
        operation: ``all_reduce`` or ``all_gather``.
        dtype: Type of the numbers.
        elements: Number of elements that each process contributes to a call.
        count: Number of calls.
    """

    what: str
    operation: str
    dtype: torch.dtype
    elements: int
    count: int = 1

    @property
    def calls(self) -> list[Call]:
        """The calls one by one, as :class:`CountedCollectives` records them."""
        return [Call(self.operation, self.dtype, self.elements)] * self.count

    def sent(self, processes: int) -> float:
        """Return the bytes that each process sends in all calls, with the ring algorithm.

        An all-reduce of S bytes sends 2 (P-1)/P S: a reduce-scatter and an all-gather. An
        all-gather with a result of S bytes sends (P-1)/P S.
        """
        size = self.elements * self.dtype.itemsize * self.count
        factor = 2 / processes if self.operation == "all_reduce" else 1
        return factor * (processes - 1) * size


def sent(collectives: Iterable[Collective], processes: int) -> float:
    """Return the bytes that each process sends in some collectives."""
    return sum(part.sent(processes) for part in collectives)


def calls(collectives: Iterable[Collective]) -> int:
    """Return the number of calls in some collectives."""
    return sum(part.count for part in collectives)


@dataclass(frozen=True)
class Step:
    """Settings of a step that determine what its loss communicates.

    Attributes:
        batch: Number of images of a process.
        processes: P, number of processes.
        num_views: Number of views of an image.
        num_global: Number of global views, whose projections are the keys.
        width: Width of the projections.
        iterations: Number of Sinkhorn iterations.
        in_logs: Whether balancing works with logarithms, as it does at target temperatures below
            .045 (see ``bam_mm/losses/chunked/targets.py``).
    """

    batch: int
    processes: int
    num_views: int = 8
    num_global: int = 2
    width: int = 4096
    iterations: int = 3
    in_logs: bool = False

    @property
    def keys(self) -> int:
        """Number of keys, those of all processes."""
        return self.num_global * self.batch * self.processes


def loss_collectives(step: Step) -> list[Collective]:
    """List the collectives of the loss with a teacher, whose keys have no gradient."""
    # In logarithms, the first iteration needs the largest entry of each column, too.
    reductions = step.iterations + (step.in_logs and step.iterations > 0)
    mine = step.num_global * step.batch * step.width
    return [
        Collective("keys", "all_gather", torch.float32, mine),
        Collective("balancing", "all_reduce", torch.float32, step.keys, reductions),
        Collective("value", "all_reduce", torch.float32, 1),
    ]


def monitor_collectives(step: Step) -> list[Collective]:
    """List what a step with a check of ``CollapseMonitorHook`` communicates in addition."""
    return [
        Collective("entropies", "all_reduce", torch.float32, 1, 2),
        Collective("rows", "all_reduce", torch.float32, 1),
        Collective("mean and square", "all_reduce", torch.float64, step.width, 2),
    ]


def gradient_collectives(buckets: Iterable[int]) -> list[Collective]:
    """List the reductions of the gradients in DistributedDataParallel.

    Args:
        buckets: Number of float32 elements of each bucket, see :func:`buckets_of`.
    """
    return [Collective("gradients", "all_reduce", torch.float32, size) for size in buckets]


def buckets_of(sizes: Sequence[int], first: int = FIRST_BUCKET, other: int = BUCKET) -> list[int]:
    """Combine gradients to buckets in the way of DistributedDataParallel after its first step.

    Args:
        sizes: Number of float32 elements of each gradient, in the order in which they are ready.
        first: Size in bytes at which the first bucket is closed.
        other: Size in bytes at which any other bucket is closed.

    Returns:
        Number of elements of each bucket.
    """
    buckets, limit, current = [], first, 0
    for size in sizes:
        current += size
        if 4 * current >= limit:
            buckets.append(current)
            limit, current = other, 0
    return [*buckets, current] if current else buckets


def sync_bn_collectives(channels: Sequence[int], resolutions: int = 2) -> list[Collective]:
    """List the collectives of torch's SyncBatchNorm in student and teacher.

    Each layer gathers mean, deviation and count in a forward pass, and reduces two sums in a
    backward pass. The student runs once per resolution, the teacher once, without a backward pass.

    Args:
        channels: Number of channels of each layer of the student; the teacher has the same layers.
        resolutions: Number of sizes of the views.
    """
    return [
        part
        for c in channels
        for part in (
            Collective("SyncBN", "all_gather", torch.float32, 2 * c + 1, resolutions + 1),
            Collective("SyncBN", "all_reduce", torch.float32, 2 * c, resolutions),
        )
    ]


def gathered_rows(rows: int, width: int, processes: int, dtype: torch.dtype) -> list[Collective]:
    """List the collectives of ``gather_rows`` for a table that all processes share evenly.

    Args:
        rows: Number of rows of the whole table. Shorter parts are padded to the longest.
        width: Number of elements of a row.
        processes: Number of processes.
        dtype: Type of the numbers.
    """
    longest = math.ceil(rows / processes)
    return [
        Collective("counts", "all_gather", torch.int64, 1),
        Collective("rows", "all_gather", dtype, longest * width),
    ]


def seconds_on_wire(collectives: Sequence[Collective], processes: int, bandwidth: float) -> float:
    """Return the time of some collectives.

    Args:
        collectives: The collectives.
        processes: Number of processes; a single one communicates nothing.
        bandwidth: Bytes per second that each process sends and, at the same time, receives.
    """
    return sent(collectives, processes) / bandwidth if processes > 1 else 0.0


def visible_gradient_seconds(whole: float, last: float, window: float) -> float:
    """Return the part of the gradients' reduction that the backward pass does not hide.

    Args:
        whole: Time of all buckets.
        last: Time of the last bucket, which is complete only when the backward pass ends.
        window: Time of the backward pass during which buckets are reduced.
    """
    return max(whole - window, last)


def state_bytes(student: int, teacher: int, trained: int, slots: int) -> int:
    """Return the size of weights and optimizer state in float32, as in memory and checkpoint.

    Args:
        student: Number of the student's parameters and buffers.
        teacher: Number of the teacher's.
        trained: Number of parameters with a gradient.
        slots: Tensors of a parameter's size that the optimizer keeps: 2 for AdamW, 1 for LARS.
    """
    return 4 * (student + teacher + slots * trained)


def view_bytes(sides: Iterable[int], batch: int, itemsize: int = 4) -> int:
    """Return the size of the views of a batch: float32 on the device, 1 byte in the workers."""
    return batch * itemsize * sum(3 * side**2 for side in sides)


def shared_memory_bytes(sides: Iterable[int], batch: int, workers: int) -> int:
    """Return the size of the prepared batches that the workers of a process hold in /dev/shm."""
    return workers * PREFETCHED * view_bytes(sides, batch, itemsize=1)


def combined_rate(*rates: float) -> float:
    """Return the images/s of parts that run one after the other, from those of each part."""
    return 1 / sum(1 / rate for rate in rates)


def pass_seconds(images: int, processes: int, *rates: float) -> float:
    """Return the time of a pass over images that the slowest of parallel parts limits.

    Args:
        images: Number of images.
        processes: Number of processes that share them.
        rates: Images/s that each part handles in one process.
    """
    return math.ceil(images / processes) / min(rates)
