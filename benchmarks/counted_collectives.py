"""Collectives that a computation over several processes really calls, with their sizes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Index of the argument that holds what a process contributes.
_CONTRIBUTION = {"allgather_": 1, "_allgather_base_": 1, "reduce_scatter_": 1, "scatter_": 1}
_NAMES = {
    "allreduce_": "all_reduce",
    "allgather_": "all_gather",
    "_allgather_base_": "all_gather",
    "broadcast_": "broadcast",
}


class Call(NamedTuple):
    """One collective call of a process.

    Attributes:
        operation: ``all_reduce``, ``all_gather``, ``broadcast``, or torch's name of another one.
        dtype: Type of the numbers.
        elements: Number of elements that this process contributes.
    """

    operation: str
    dtype: torch.dtype
    elements: int


class CountedCollectives(TorchDispatchMode):
    """Record every collective that this process calls in this context.

    The calls are seen in torch's dispatcher, below ``torch.distributed``. Those that C++ code makes
    itself, such as the gradient reduction of DistributedDataParallel, are recorded, too.

    Attributes:
        calls: The calls in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, function: Callable, types, args=(), kwargs=None):
        if function.namespace == "c10d":
            name = function._schema.name.removeprefix("c10d::")
            part = args[_CONTRIBUTION.get(name, 0)]
            tensors = [leaf for leaf in tree_leaves(part) if isinstance(leaf, Tensor)]
            for tensor in tensors:
                self.calls.append(Call(_NAMES.get(name, name), tensor.dtype, tensor.numel()))
        return function(*args, **(kwargs or {}))
