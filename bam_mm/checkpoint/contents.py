"""The tensors of a checkpoint by name, whatever containers and wrappers they are in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bam_mm.checkpoint.roles import BACKBONES, role, words_of
from bam_mm.errors import InputError, listing

CONTAINERS = frozenset(
    {
        "state_dict",
        "model",
        "module",
        "model_state_dict",
        "model_state",
        "checkpoint",
        "weights",
        "params",
    }
)
"""Keys of a file under which its tensors may be stored. They are not a part of their names."""

WRAPPERS = frozenset(
    {
        "module",  # DistributedDataParallel
        "_orig_mod",  # torch.compile
        "_fsdp_wrapped_module",
        "_fpw_module",
        "_checkpoint_wrapped_module",
        "_forward_module",  # Lightning
    }
)
"""Words that wrappers add to the names of tensors, at the beginning or in the middle."""

TRAINING = frozenset(
    {
        "optimizer",
        "optimizers",
        "optim",
        "opt",
        "scheduler",
        "schedulers",
        "sched",
        "scaler",
        "amp",
        "loss",
        "losses",
        "criterion",
        "rng",
        "hub",
        "callbacks",
        "loops",
        "hyper",
        "args",
        "config",
        "cfg",
        "meta",
        "metadata",
    }
)
"""Words in the keys of what training keeps beside the weights, such as ``dino_loss``."""

DEPTH = 8
"""Number of nested containers that are searched."""

_SHARD = re.compile(r"(^|\.)_?flat_param(_\d+)?$")


@dataclass
class Contents:
    """The tensors of a file.

    Attributes:
        state: Tensors by name. Names have no wrappers, and no containers except for those of a
            branch or a part of the model, such as ``model_ema.`` and ``teacher.``.
        nested: Names of these containers.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    nested: set[str] = field(default_factory=set)


def tensors_of(content: Any, path: str | Path) -> Contents:
    """Find the tensors of a model in the contents of a checkpoint.

    Args:
        content: Contents of the checkpoint, from
            :func:`~bam_mm.checkpoint.reading.read_checkpoint`.
        path: Path of the checkpoint, for messages.

    Returns:
        The tensors by name.

    Raises:
        InputError: If the file has no tensors, two of the same name, tensors without names, or the
            flat shards of a process.
    """
    found = Contents()
    content = content if isinstance(content, Mapping) else {}
    _collect(content, "", 0, found, path)
    if not found.state:
        raise InputError(
            f"checkpoint {path} holds no tensors {_described(content)}: pass a file with a "
            "state_dict"
        )
    shards = [key for key in found.state if _SHARD.search(key)]
    if shards:
        raise InputError(
            f"checkpoint {path} holds flat shards of FSDP ({listing(shards, 2)}), not the tensors "
            "of the model: save it with state_dict_type FULL_STATE_DICT, or join the shards with "
            "torch.distributed.checkpoint.format_utils"
        )
    return found


def without_wrappers(key: str) -> str:
    """Return the name of a tensor without the words of wrappers."""
    kept = ".".join(word for word in key.split(".") if word not in WRAPPERS)
    return kept or key


def _collect(content: Mapping, prefix: str, depth: int, found: Contents, path: str | Path) -> None:
    inner = {} if depth == DEPTH else _mappings(content)
    plain = {key: value for key, value in inner.items() if key in CONTAINERS and _holds(value)}
    parts = {
        key: value
        for key, value in inner.items()
        if key not in CONTAINERS and (role(key) or (not plain and words_of(key) & BACKBONES))
    }
    tensors = {} if plain else {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not (plain or parts or tensors):
        parts = inner
    _check_names(tensors, path)
    for key, tensor in tensors.items():
        _add(f"{prefix}{key}", tensor, found, path)
    for value in plain.values():
        _collect(value, prefix, depth + 1, found, path)
    for key, value in parts.items():
        found.nested.add(key)
        _collect(value, f"{prefix}{key}.", depth + 1, found, path)


def _mappings(content: Mapping) -> dict[str, Mapping]:
    # With the user's trust, a file may hold a whole module.
    values = {
        str(key): value.state_dict() if isinstance(value, nn.Module) else value
        for key, value in content.items()
    }
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, Mapping) and not words_of(key) & TRAINING
    }


def _holds(content: Mapping, depth: int = 0) -> bool:
    """Return whether there is a tensor somewhere in the contents."""
    return any(
        isinstance(value, (Tensor, nn.Module))
        or (isinstance(value, Mapping) and depth < DEPTH and _holds(value, depth + 1))
        for value in content.values()
    )


def _check_names(tensors: Mapping, path: str | Path) -> None:
    if tensors and not any(isinstance(key, str) for key in tensors):
        raise InputError(
            f"checkpoint {path} holds {len(tensors)} tensors without names (their keys: "
            f"{listing(tensors, 3)}): save the model's state_dict(), which has names, to a new file"
        )


def _add(key: str, tensor: Tensor, found: Contents, path: str | Path) -> None:
    bare = without_wrappers(key)
    if bare in found.state:
        raise InputError(
            f"checkpoint {path} has two tensors for {bare} (one is named {key}): delete one of them"
        )
    found.state[bare] = tensor


def _described(content: Mapping) -> str:
    if not content:
        return "(it is empty)"
    kinds = [f"{key} is a {type(value).__name__}" for key, value in content.items()]
    return f"(its keys: {listing(kinds)[:200]})"
