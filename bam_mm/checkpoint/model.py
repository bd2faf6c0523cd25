"""Loading a complete model from its own checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing


def load_weights(model: nn.Module, path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Load all weights of a model from a checkpoint of the same model.

    Args:
        model: The model, possibly wrapped in DistributedDataParallel.
        path: Path of the checkpoint.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        ``meta`` of the checkpoint, as mmengine writes it; empty if it has none.

    Raises:
        InputError: If a tensor is missing, not in the model, or of another shape. The message lists
            their names.
    """
    inner = unwrap_model(model)
    checkpoint = read_checkpoint(path, trust=trust)
    state = checkpoint.get("state_dict", checkpoint)
    wanted = inner.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} ({tuple(state[key].shape)}, the model has {tuple(wanted[key].shape)})"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if missing or unexpected or misshapen:
        parts = [
            f"{len(names)} {what}: {listing(names)}"
            for what, names in (
                ("missing", missing),
                ("not in the model", unexpected),
                ("of another shape", misshapen),
            )
            if names
        ]
        raise InputError(
            f"checkpoint {path} does not fit the config's model ({'; '.join(parts)}): use the "
            "config with which it was trained"
        )
    inner.load_state_dict(state)
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, dict) else {}
