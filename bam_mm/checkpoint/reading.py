"""Reading checkpoint files without running code from them."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import get_torch_safe_globals

from bam_mm.errors import InputError

TRUST_FLAG = "--trust-checkpoint"

FORCE_SAFE, FORCE_UNSAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Environment variables by which torch overrides what a call to ``torch.load`` asks for."""


def read_checkpoint(
    filename: str | Path, map_location: Any = "cpu", *, trust: bool = False
) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, or a safetensors file.

    Args:
        filename: A file written by torch (or by an mmengine run), or ``*.safetensors``.
        map_location: As for ``torch.load``; a device for safetensors.
        trust: The user's explicit word (``--trust-checkpoint``) that code in this file may run. It
            is run only if the file cannot be read without.

    Returns:
        Its contents.

    Raises:
        InputError: If the file is missing, damaged, or a pickle that would need code to be run.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path, device=str(map_location or "cpu"))
        # mmengine's own checkpoints hold NumPy scalars and its log history besides tensors.
        # torch stops where both of its variables are set, be it by the user's shell.
        with (
            _without_environment(FORCE_UNSAFE),
            torch.serialization.safe_globals(_harmless()),
        ):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        if trust:
            return _run_its_code(path, map_location)
        raise InputError(
            f"checkpoint {path} is not read: it holds more than tensors and plain values, and "
            "reading it would run code from the file, or it is damaged. If you trust whoever wrote "
            f"it, give {TRUST_FLAG} (of tools/train.py, test.py and convert_checkpoint.py), or "
            f"export its state_dict and use that file ({_first_line(error)})"
        ) from error
    except Exception as error:
        # A damaged file makes torch raise almost anything.
        raise InputError(
            f"checkpoint {path} cannot be read ({_first_line(error)}): it is damaged or "
            "cut short; use an earlier one, or copy it again"
        ) from error


def file_digest(filename: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = sha256()
    with Path(filename).expanduser().open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _run_its_code(path: Path, map_location: Any) -> dict[str, Any]:
    # The only place of the package that unpickles, and only on the user's word.
    print_log(
        f"{TRUST_FLAG}: reading {path} runs code from it",
        logger="current",
        level=logging.WARNING,
    )
    try:
        with _without_environment(FORCE_SAFE):
            return torch.load(path, map_location=map_location, weights_only=False)
    except Exception as error:
        raise InputError(
            f"checkpoint {path} cannot be read even with {TRUST_FLAG} "
            f"({type(error).__name__}: {_first_line(error)}): it is damaged, or needs a package "
            "that is not installed"
        ) from error


def _harmless() -> list[Callable | tuple[Callable, str]]:
    # mmengine lists getattr itself. With it a file can reach any object, put exec in the place of
    # a builtin function that is called on its keys, and so run code after all.
    kept = [item for item in get_torch_safe_globals() if item is not getattr]
    # Training arguments, as DINO's, MAE's and BAM's scripts save them: attributes and nothing else.
    return [*kept, Namespace, (_statistic, "builtins.getattr"), (_statistic, "__builtin__.getattr")]


def _statistic(owner: Any, name: str) -> Callable:
    # What mmengine's log history needs getattr for.
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise UnpicklingError(f"it asks for the attribute {name!r} of {owner!r}")
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
    # torch puts general advice before what was wrong with this file.
    text = str(error).rpartition("WeightsUnpickler error:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Weights only load failed")]
    return (telling or lines or [type(error).__name__])[0]
