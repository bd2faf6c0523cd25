"""Loading a whole model from its own checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing


def load_weights(model: nn.Module, path: str | Path, *, trust: bool = False) -> None:
    """Load a checkpoint of the same model completely, or stop.

    Args:
        model: A model, possibly wrapped.
        path: The checkpoint.
        trust: The user's explicit word that code in this file may run.

    Raises:
        InputError: If any tensor is missing, left over, or of another shape, with their names.
    """
    inner = unwrap_model(model)
    state = read_checkpoint(path, trust=trust)
    state = state.get("state_dict", state)
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
            "config that it was trained with"
        )
    inner.load_state_dict(state)
