"""A check of every collective operation: who calls it, and with which tensors."""

import sys
import sysconfig
from pathlib import Path

import mmengine.dist.dist
import torch
from mmengine.dist import cast_data_device
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import bam_mm.distributed

PACKAGE = Path(bam_mm.__file__).parent
TORCH = Path(torch.__file__).parent
MMENGINE_DIST = Path(mmengine.dist.__file__).parent
STANDARD = Path(sysconfig.get_path("stdlib"))

BY_TORCH = ("nn/parallel/distributed.py", "autograd/graph.py")
"""DistributedDataParallel and its gradients: parameters and buffers of the model."""

CHOOSES_A_DEVICE = ("all_gather_object", "broadcast_object_list", "gather_object", "barrier")
"""Functions of torch.distributed that communicate no tensor of the caller."""


class UncheckedCollectiveError(AssertionError):
    """A collective whose tensors may lie on a device that the backend does not support."""


class CheckedCollectives(TorchDispatchMode):
    """Raise for collectives that would fail if the backend supported other devices than the CPU.

    Every collective of torch.distributed is an operator of a ``c10d`` namespace, also those that
    C++ code calls. None can be forgotten here, unlike in a list of Python functions. A call passes
    if it comes from

    - ``bam_mm/distributed.py``, and ``communicable`` has returned each of its tensors,
    - ``mmengine.dist``, and mmengine has moved its tensors to the backend's device, or
    - DistributedDataParallel, whose tensors are the model's.

    Attributes:
        calls: Caller and operator of each collective: ``bam_mm``, ``mmengine`` or ``torch``.
    """

    def __init__(self):
        super().__init__()
        self.calls = []
        self.originals = (bam_mm.distributed.communicable, cast_data_device)

    def __enter__(self):
        bam_mm.distributed.communicable = self._marking(self.originals[0])
        mmengine.dist.dist.cast_data_device = self._marking(self.originals[1])
        return super().__enter__()

    def __exit__(self, *error):
        bam_mm.distributed.communicable, mmengine.dist.dist.cast_data_device = self.originals
        return super().__exit__(*error)

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if "c10d" in op.namespace:
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            self.calls.append((_check(str(op), tensors), str(op)))
            for tensor in tensors:
                tensor.__dict__.pop("may_be_communicated", None)
        return op(*args, **(kwargs or {}))

    @staticmethod
    def _marking(move):
        def marked(*args, **kwargs):
            result = move(*args, **kwargs)
            for tensor in tree_leaves(result):
                tensor.may_be_communicated = True
            return result

        return marked


def _check(op, tensors):
    """Return the caller, or raise an error."""
    passed = {id(x) for x in tensors if getattr(x, "may_be_communicated", False)}
    frame, through = sys._getframe(2), []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        through.append(frame.f_code.co_name)
        if path.is_relative_to(TORCH):
            if str(path.relative_to(TORCH)) in BY_TORCH:
                return "torch"
        elif path.is_relative_to(PACKAGE):
            if path.name != "distributed.py" or len(passed) < len({id(x) for x in tensors}):
                raise UncheckedCollectiveError(f"{op} in {path}:{frame.f_lineno}")
            return "bam_mm"
        elif path.is_relative_to(MMENGINE_DIST):
            if not set(CHOOSES_A_DEVICE) & set(through):
                _check_mmengine(op, frame, tensors, passed)
            return "mmengine"
        elif not _is_standard(path):
            break
        frame = frame.f_back
    raise UncheckedCollectiveError(f"{op} in {frame and frame.f_code}")


def _check_mmengine(op, frame, tensors, passed):
    """Check that a function of mmengine.dist does not communicate an argument that it got."""
    code = frame.f_code
    got = {id(x) for n in code.co_varnames[: code.co_argcount] for x in [frame.f_locals[n]]}
    unmoved = [x for x in tensors if id(x) in got - passed]
    if "backend_device" not in frame.f_locals or unmoved:
        raise UncheckedCollectiveError(f"{op} in {code} with {len(unmoved)} tensors as they came")


def _is_standard(path):
    """Return whether a file belongs to the standard library, or to its backports of decorators."""
    if "site-packages" in path.parts:
        return path.name == "typing_extensions.py"
    return path.is_relative_to(STANDARD)
