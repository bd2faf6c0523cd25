"""Loading a complete model from its own checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing


def load_weights(model: nn.Module, path: str | Path, *, trust: bool = False) -> None:
    """Load all weights of a model from a checkpoint of the same model.

    Args:
        model: The model, possibly wrapped in DistributedDataParallel.
        path: Path of the checkpoint.
        trust: Whether the user has explicitly allowed code in this file to run.

    Raises:
        InputError: If a tensor is missing, not in the model, or of another shape. The message lists
            their names.
    """
    inner = unwrap_model(model)
    state = read_checkpoint(path, trust=trust)
    state = state.get("state_dict", state)
    if wrong := misfits(inner.state_dict(), state):
        raise InputError(
            f"checkpoint {path} does not fit the config's model ({wrong}): use the "
            "config with which it was trained"
        )
    inner.load_state_dict(state)


def misfits(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Describe how the tensors of a checkpoint differ from those of a model.

    Args:
        wanted: Tensors of the model by name.
        state: Tensors of the checkpoint by name.

    Returns:
        The tensors that are missing, not in the model or of another shape; empty if all fit.
    """
    shapes = [
        {name: tuple(getattr(x, "shape", ())) for name, x in s.items()} for s in (wanted, state)
    ]
    model, file = shapes
    groups = {
        "missing": [key for key in model if key not in file],
        "not in the model": [key for key in file if key not in model],
        "of another shape": [
            f"{key} ({file[key]}, the model has {model[key]})"
            for key in model
            if key in file and file[key] != model[key]
        ],
    }
    return "; ".join(
        f"{len(names)} {what}: {listing(names)}" for what, names in groups.items() if names
    )
