"""Precision in which frozen backbones compute: ``precision`` of loops, hooks and models.

On a GPU, float32 operations use TF32 by default: inputs of matrix products and convolutions are
rounded to 10 bits of mantissa, with sums in float32. Everything that is not a frozen backbone
(training, similarities, logistic regression) is outside, and keeps the user's own flags.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bam_mm.errors import InputError

PRECISIONS = ("float32", "tf32", "bfloat16")

_FLAGS_IN_USE = threading.RLock()
"""torch's flags are those of the process: with two threads, one could restore the other's."""


def check_precision(precision: str | None, name: str = "precision") -> str | None:
    """Return a setting if it is valid.

    Args:
        precision: Setting to check.
        name: Name of the setting, for the message.

    Raises:
        InputError: If ``precision`` is neither None nor one of ``PRECISIONS``.
    """
    if precision is not None and precision not in PRECISIONS:
        raise InputError(
            f"{name}={precision!r}: choose one of {', '.join(PRECISIONS)}, or None for tf32 on a "
            "GPU and float32 on a CPU"
        )
    return precision


def effective_precision(precision: str | None, device: torch.device) -> str:
    """Return the precision that a setting means on a device.

    Args:
        precision: One of ``PRECISIONS``; None is ``tf32`` on a GPU and ``float32`` on a CPU.
        device: Device of the backbone.

    Returns:
        One of ``PRECISIONS``. TF32 is ``float32`` on a CPU and on GPUs before compute capability 8,
        which do not have it.
    """
    precision = precision or "tf32"
    if precision == "tf32":
        gpu = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return "tf32" if gpu else "float32"
    return precision


def precision_used(*parts: object) -> str | None:
    """Return the precision of the first loop or model that has a frozen backbone; else None."""
    found = (getattr(part, "precision_used", None) for part in parts)
    return next((precision for precision in found if precision is not None), None)


@contextmanager
def computing_in(precision: str | None, device: torch.device) -> Iterator[None]:
    """Run a frozen backbone in a precision, and restore torch's settings afterwards.

    The settings are restored after an exception, too. As torch has one set of TF32 flags for all
    threads of a process, only one thread at a time can be in such a context on a GPU.

    Args:
        precision: ``float32``: no operation is rounded, neither by TF32 nor by the caller's
            autocast. ``tf32``: TF32 where the device has it, no autocast. ``bfloat16``: autocast to
            bfloat16. None: TF32 where the device has it; the caller's autocast stays as it is.
        device: Device of the backbone.
    """
    half = precision == "bfloat16"
    with _tf32_on(device, precision in (None, "tf32")):
        if precision is None:
            yield
            return
        with torch.autocast(device.type, dtype=torch.bfloat16 if half else None, enabled=half):
            yield


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Compute products in the type of their factors: neither autocast nor TF32.

    Args:
        device: Device of the factors.
    """
    with computing_in("float32", device):
        yield


@contextmanager
def _tf32_on(device: torch.device, allowed: bool) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    with _FLAGS_IN_USE:
        before = _Flags()
        try:
            before.set_all(allowed)
            yield
        finally:
            before.restore()


class _Flags:
    """The TF32 flags of torch, as they are when this object is created.

    From 2.9, torch has new names (``fp32_precision``) beside the old (``allow_tf32``). It raises if
    an old name is read while both do not agree, which the user may have caused. So both are set
    to the same value here, for libraries that read either, and restored one by one.
    """

    def __init__(self) -> None:
        backends: Any = torch.backends
        matmul, cudnn = backends.cuda.matmul, backends.cudnn
        new = hasattr(matmul, "fp32_precision")
        # The last one, products on a CPU, is set together with torch's matmul precision.
        self.watched = [matmul, cudnn.conv, cudnn.rnn, backends.mkldnn.matmul] if new else []
        self.precisions = [operator.fp32_precision for operator in self.watched]
        self.changed = False
        self.products = _read(torch.get_float32_matmul_precision)
        self.old = {module: _read(lambda m=module: m.allow_tf32) for module in (matmul, cudnn)}

    def set_all(self, allowed: bool) -> None:
        """Switch TF32 on or off for matrix products, convolutions and recurrent layers."""
        now = [precision == "tf32" for precision in self.precisions[:3]]
        if all(value == allowed for value in [*now, *self.old.values()]):
            return
        self.changed = True
        for module in self.old:
            module.allow_tf32 = allowed
        for operator in self.watched[:3]:
            operator.fp32_precision = "tf32" if allowed else "ieee"

    def restore(self) -> None:
        """Restore all flags."""
        if not self.changed:
            return
        for number, (module, old) in enumerate(self.old.items()):
            # None: it did not agree with the new name.
            module.allow_tf32 = self.precisions[number] != "tf32" if old is None else old
        if self.products is not None:
            torch.set_float32_matmul_precision(self.products)
        for operator, precision in zip(self.watched, self.precisions, strict=True):
            if operator.fp32_precision != precision:
                operator.fp32_precision = precision


def _read(getter: Any) -> Any:
    """Read a flag; None if torch refuses because old and new names do not agree."""
    try:
        return getter()
    except RuntimeError:
        return None
