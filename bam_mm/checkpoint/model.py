"""Loading a complete model from its own checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint.contents import without_wrappers
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.checkpoint.soundness import check_types, check_values, conversion
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
        InputError: If a tensor is missing, not in the model, of another shape or of an integer
            type, or its numbers are not finite. The message lists their names.
    """
    inner = unwrap_model(model)
    checkpoint = read_checkpoint(path, trust=trust)
    state = _own_state(checkpoint, path)
    whole = inner.state_dict()
    own = {key: value for key, value in whole.items() if isinstance(value, Tensor)}
    names = {without_wrappers(key): key for key in own}
    wanted = {name: own[key] for name, key in names.items()}
    if wrong := misfits(wanted, state):
        raise InputError(
            f"checkpoint {path} does not fit the config's model ({wrong}): use the "
            "config with which it was trained"
        )
    check_types(state, wanted, path)
    check_values(state, path, wanted=wanted)
    if changed := conversion(state, wanted):
        print_log(f"checkpoint {path}: {changed}", logger="current")
    # What a module keeps beside its tensors, such as the queue of NNCLR.
    saved = checkpoint.get("state_dict", checkpoint)
    extra = {key: saved.get(key, whole[key]) for key in whole if key not in own}
    inner.load_state_dict({**{names[key]: tensor for key, tensor in state.items()}, **extra})
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, dict) else {}


def _own_state(content: Mapping, path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a whole model by name."""
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise InputError(
            f"checkpoint {path} has a {type(state).__name__} as state_dict, not tensors by name: "
            "save the model's state_dict() with torch.save and pass that file"
        )
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    bare = {without_wrappers(key): value for key, value in tensors.items()}
    if len(bare) < len(tensors):
        raise InputError(
            f"checkpoint {path} has several tensors whose names differ in module or _orig_mod "
            "alone: delete those that are not meant"
        )
    return bare


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
