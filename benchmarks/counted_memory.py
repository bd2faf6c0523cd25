"""Memory of a computation that is not carried out, counted on tensors without contents."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bam_mm.losses.chunked import arrangement, products
from bam_mm.losses.chunked import loss as chunked_loss


class CountedMemory(TorchDispatchMode):
    """Bytes of the storages that were created in this context and are still alive, and their peak.

    Use it within a ``FakeTensorMode``. What the allocator rounds up and what libraries take for
    themselves is not counted.

    Args:
        inputs: Tensors that existed before, which do not count.

    Attributes:
        now: Bytes that are alive.
        peak: Largest value of ``now`` so far.
    """

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in inputs}

    def __torch_dispatch__(self, function: Callable, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@contextmanager
def like_a_gpu() -> Iterator[None]:
    """Let the loss on fake CPU tensors use a GPU's chunks and products of bfloat16.

    Fake tensors of a GPU have no backward pass on a machine without one.
    """

    def float32_sums(a: Tensor, b: Tensor) -> Tensor:
        return torch.empty(len(a), b.shape[1], dtype=torch.float32)

    with (
        mock.patch.object(chunked_loss, "half_type", lambda *args: torch.bfloat16),
        mock.patch.object(products, "multiply_half", float32_sums),
        mock.patch.dict(arrangement.BUDGETS, cpu=arrangement.BUDGETS["cuda"]),
    ):
        yield


@contextmanager
def as_one_of(processes: int) -> Iterator[None]:
    """Let ``bam_mm`` behave as the first of several processes, with collectives that do nothing.

    Their results have the right shapes, so this is for fake tensors only.

    Args:
        processes: Number of processes.
    """

    def nothing(*args: object, **kwargs: object) -> None:
        return None

    with (
        mock.patch("torch.distributed.is_initialized", lambda: True),
        mock.patch("torch.distributed.get_world_size", lambda *args: processes),
        mock.patch("torch.distributed.get_rank", lambda *args: 0),
        mock.patch("torch.distributed.get_backend_config", lambda *args: "cpu:gloo"),
        mock.patch("torch.distributed.all_reduce", nothing),
        mock.patch("torch.distributed.all_gather_into_tensor", nothing),
        mock.patch("torch.distributed.reduce_scatter_tensor", nothing),
    ):
        yield
