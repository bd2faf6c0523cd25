"""Reading checkpoint files without running code from them."""

from __future__ import annotations

import logging
import os
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path, PosixPath
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, print_log

from bam_mm.checkpoint.file_kinds import TORCHSCRIPT, check_is_file, find_kind, parts_of_index
from bam_mm.errors import InputError, listing

TRUST_FLAG = "--trust-checkpoint"

FORCE_SAFE, FORCE_UNSAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Environment variables by which torch overrides the arguments of ``torch.load``."""


def read_checkpoint(
    filename: str | Path, map_location: Any = "cpu", *, trust: bool = False
) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, or safetensors.

    Args:
        filename: File written by torch or by a run of mmengine, a file of safetensors, or the
            ``*.index.json`` beside the parts of a checkpoint. What it is follows from its content,
            whatever its name.
        map_location: Device or mapping of devices, passed to ``torch.load``. For safetensors, a
            device.
        trust: Whether the user has explicitly allowed code in this file to run
            (``--trust-checkpoint``). It runs only if the file cannot be read otherwise.

    Returns:
        The contents of the file. For a whole module, which needs ``trust``, its tensors under
        ``state_dict``.

    Raises:
        InputError: If the file is missing or damaged, is another kind of file or folder (the
            message names it), holds a list or the like instead of tensors by name, or is a pickle
            that requires its code to run.
    """
    path = Path(filename).expanduser()
    kind = find_kind(path, trust=trust)
    if kind == "index":
        return _joined(path, map_location, trust)
    if kind == TORCHSCRIPT:
        return _by_name(_run_its_code(path, map_location), path)
    return _by_name(_read(path, kind, map_location, trust), path)


def _read(path: Path, kind: str, map_location: Any, trust: bool) -> Any:
    try:
        if kind == "safetensors":
            return safetensors.torch.load_file(path, device=str(map_location or "cpu"))
        _check_sums(path)
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
            f"plain values and would run code from the file ({_reason(error)}). If you trust "
            f"its author, pass {TRUST_FLAG} to bam-mm train, bam-mm test or "
            "bam-mm convert, or export its state_dict to a new file"
        ) from error
    except InputError:
        raise
    except Exception as error:
        # For a damaged file, torch raises almost any exception.
        raise InputError(
            f"checkpoint {path} cannot be read ({_first_line(error)}): it is damaged or "
            "truncated; use an earlier checkpoint, or copy it again"
        ) from error


def file_digest(filename: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal. That of an index includes its parts.

    Raises:
        InputError: If there is no such file.
    """
    path = Path(filename).expanduser()
    check_is_file(path)
    digest = sha256()
    parts = parts_of_index(path) if path.name.endswith(".index.json") else []
    for name in (path, *parts):
        with name.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _joined(path: Path, map_location: Any, trust: bool) -> dict[str, Any]:
    parts = parts_of_index(path)
    nested = [part.name for part in parts if part.suffix == ".json"]
    if nested:
        raise InputError(
            f"checkpoint {path} names {listing(nested)} as a part: name files of weights"
        )
    return {
        key: value
        for part in parts
        for key, value in read_checkpoint(part, map_location, trust=trust).items()
    }


def _by_name(content: Any, path: Path) -> dict[str, Any]:
    """Return the contents of a file if they have names."""
    if isinstance(content, torch.nn.Module):
        return {"state_dict": content.state_dict()}
    if isinstance(content, Mapping):
        return cast(dict[str, Any], content)
    name = type(content).__name__
    what = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    if isinstance(content, torch.Tensor):
        what = f"one tensor {tuple(content.shape)}"
    elif isinstance(content, Sized) and not isinstance(content, (str, bytes)):
        what += f" of {len(content)} values"
    raise InputError(
        f"checkpoint {path} holds {what}, not tensors by name: save model.state_dict() with "
        "torch.save and pass that file"
    )


def _check_sums(path: Path) -> None:
    # torch does not compare the checksums that it writes, so a damaged file would change weights.
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        # torch writes zeros if its checksums are switched off.
        summed = any(entry.CRC for entry in archive.infolist())
        damaged = archive.testzip() if summed else None
    if damaged:
        raise InputError(
            f"checkpoint {path} cannot be read (its entry {damaged} does not match its checksum): "
            "it is damaged or truncated; use an earlier checkpoint, or copy it again"
        )


def _run_its_code(path: Path, map_location: Any) -> Any:
    # This is the only place in the package that unpickles, and only if the user allows it.
    print_log(
        f"{TRUST_FLAG}: reading {path} runs code from the file",
        logger="current",
        level=logging.WARNING,
    )
    try:
        with _without_environment(FORCE_SAFE), warnings.catch_warnings():
            # torch warns that it reads TorchScript with another function.
            warnings.simplefilter("ignore", UserWarning)
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
    types = {type(np.dtype(kind)) for kind in "?bhilqBHILQefdSU"}
    return [
        *arrays,
        *types,
        HistoryBuffer,
        # The scripts of DINO, MAE and BAM save their arguments as a Namespace: only values.
        Namespace,
        (PosixPath, "pathlib.PosixPath"),
        (PosixPath, "pathlib._local.PosixPath"),  # Python 3.13
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


def _reason(error: Exception) -> str:
    """Return what a pickle needs, such as the class of a module that was saved as a whole."""
    needed = re.search(r"GLOBAL ([\w.]+) was not", str(error))
    if not needed:
        return _first_line(error)
    whole = ", a whole module instead of its state_dict" * needed[1].startswith("torch.nn.")
    return f"it holds {needed[1]}{whole}"


def _first_line(error: Exception) -> str:
    # The message of torch has general advice before the reason why it cannot load this file.
    text = str(error).rpartition("WeightsUnpickler error:")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    specific = [line for line in lines if not line.startswith("Weights only load failed")]
    return (specific or lines or [type(error).__name__])[0]
