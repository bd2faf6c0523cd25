"""Reading checkpoint files without running code from them."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_torch_safe_globals

from bam_mm.errors import InputError


def read_checkpoint(filename: str | Path, map_location: Any = "cpu") -> dict:
    """Read a checkpoint with ``weights_only=True``, and nothing else.

    Args:
        filename: A file written by torch (or by an mmengine run).
        map_location: As for ``torch.load``.

    Returns:
        Its contents.

    Raises:
        InputError: If the file is missing, damaged, or a pickle that would need code to be run.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        # mmengine's own checkpoints hold NumPy scalars and its log history besides tensors.
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"checkpoint {path} is not read: it holds more than tensors and plain values, and "
            "reading it would run code from the file, or it is damaged. Export its state_dict "
            f"where you trust it, and use that file ({reason})"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}): it is damaged or "
            "cut short; use an earlier one, or copy it again"
        ) from error


def forbid_unpickling() -> None:
    """Make mmengine's own loading of local files use :func:`read_checkpoint`.

    mmengine tries ``weights_only=True`` and then silently unpickles whatever the file holds.
    """
    CheckpointLoader.register_scheme(prefixes="", loader=_load_from_local_safely, force=True)


def _load_from_local_safely(filename: str, map_location: Any = None) -> dict:
    # mmengine prints the name of this function from its eleventh letter on.
    return read_checkpoint(filename, map_location)
