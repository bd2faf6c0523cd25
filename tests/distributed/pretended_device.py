"""A device that behaves like a GPU under NCCL, but computes on the CPU."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "meta"
"""A device type that needs no hardware; what torch does with it itself is never reached."""


class Pretended(Tensor):
    """Tensor that reports the pretended device; ``data_on_cpu`` holds its numbers."""

    @staticmethod
    def __new__(cls, data):
        x = Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), storage_offset=data.storage_offset(),
            dtype=data.dtype, device=NAME,
        )  # fmt: skip
        x.data_on_cpu = data
        return x

    __torch_dispatch__ = classmethod(lambda cls, op, types, args=(), kwargs=None: NotImplemented)


class PretendedDevice(TorchDispatchMode):
    """Operators on the pretended device work as on a GPU; collectives accept no other device."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = {id(x.data_on_cpu): x for x in tree_leaves((args, kwargs)) if _is_pretended(x)}
        if op.namespace == "c10d" and any(
            isinstance(x, Tensor) and not _is_pretended(x) for x in tree_leaves((args, kwargs))
        ):
            raise RuntimeError("No backend type associated with device type cpu")
        device = kwargs.get("device")
        there = bool(given) if device is None else torch.device(device).type == NAME
        if device is not None:
            kwargs["device"] = "cpu"
        args, kwargs = tree_map_only(Pretended, lambda x: x.data_on_cpu, (args, kwargs))
        result = op(*args, **kwargs)
        if not there or op.namespace == "c10d":
            return result
        return tree_map_only(
            Tensor, lambda x: given[id(x)] if id(x) in given else Pretended(x), result
        )


def _is_pretended(x):
    return isinstance(x, Pretended)
