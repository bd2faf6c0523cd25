"""Reading checkpoint files without running code from them."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, print_log

from bam_mm.errors import InputError

TRUST_FLAG = "--trust-checkpoint"

FORCE_SAFE, FORCE_UNSAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Environment variables by which torch overrides the arguments of ``torch.load``."""


def read_checkpoint(
    filename: str | Path, map_location: Any = "cpu", *, trust: bool = False
) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, or a safetensors file.

    Args:
        filename: File written by torch or by a run of mmengine, or ``*.safetensors``.
        map_location: Device or mapping of devices, passed to ``torch.load``. For safetensors, a
            device.
        trust: Whether the user has explicitly allowed code in this file to run
            (``--trust-checkpoint``). It runs only if the file cannot be read otherwise.

    Returns:
        The contents of the file.

    Raises:
        InputError: If the file is missing or damaged, or is a pickle that requires its code to run.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path, device=str(map_location or "cpu"))
        # Checkpoints of mmengine hold NumPy scalars and its log history in addition to tensors.
        # torch raises an error if both of its variables are set, even in the user's shell.
        with (
            _without_environment(FORCE_UNSAFE),
            torch.serialization.safe_globals(_harmless()),
        ):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        if trust:
            return _run_its_code(path, map_location)
        raise InputError(
            f"checkpoint {path} is not read: it is damaged, or it holds more than tensors and "
            f"plain values and would run code from the file ({_first_line(error)}). If you trust "
            f"its author, pass {TRUST_FLAG} to bam-mm train, bam-mm test or "
            "bam-mm convert, or export its state_dict to a new file"
        ) from error
    except Exception as error:
        # For a damaged file, torch raises almost any exception.
        raise InputError(
            f"checkpoint {path} cannot be read ({_first_line(error)}): it is damaged or "
            "truncated; use an earlier checkpoint, or copy it again"
        ) from error


def file_digest(filename: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    digest = sha256()
    with Path(filename).expanduser().open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _run_its_code(path: Path, map_location: Any) -> dict[str, Any]:
    # This is the only place in the package that unpickles, and only if the user allows it.
    print_log(
        f"{TRUST_FLAG}: reading {path} runs code from the file",
        logger="current",
        level=logging.WARNING,
    )
    try:
        with _without_environment(FORCE_SAFE):
            return torch.load(path, map_location=map_location, weights_only=False)
    except Exception as error:
        raise InputError(
            f"checkpoint {path} cannot be read even with {TRUST_FLAG} "
            f"({type(error).__name__}: {_first_line(error)}): copy it again if it is damaged, or "
            "install the package that it needs"
        ) from error


def _harmless() -> list[Callable | tuple[Callable, str]]:
    # What the message hub of mmengine holds. mmengine's own list, which upstream lacks, includes
    # getattr itself, with which a file can reach any object. It could replace a builtin function
    # that is called on its keys by exec, and thus run code after all.
    core = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    multiarray = import_module(f"{core}.multiarray")
    arrays = [slice, np.ndarray, np.dtype, multiarray._reconstruct, multiarray.scalar]
    types = [type(np.dtype(kind)) for kind in (np.uint32, np.float64, np.int64)]
    return [
        *arrays,
        *types,
        HistoryBuffer,
        # The scripts of DINO, MAE and BAM save their arguments as a Namespace: only values.
        Namespace,
        (_statistic, "builtins.getattr"),
        (_statistic, "__builtin__.getattr"),
    ]


def _statistic(owner: Any, name: str) -> Callable:
    # Replaces getattr, which the log history of mmengine needs for these methods.
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise UnpicklingError(f"it requests the attribute {name!r} of {owner!r}")
    return getattr(owner, name)


@contextmanager
def _without_environment(name: str) -> Iterator[None]:
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def _first_line(error: Exception) -> str:
    # The message of torch has general advice before the reason why it cannot load this file.
    text = str(error).rpartition("WeightsUnpickler error:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    specific = [line for line in lines if not line.startswith("Weights only load failed")]
    return (specific or lines or [type(error).__name__])[0]
