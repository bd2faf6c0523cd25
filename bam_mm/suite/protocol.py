"""What a result hangs on besides the model and the seed, and how two of these differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from bam_mm.launch.config import plain

NOT_PROTOCOL = (
    # Where things lie, and what is shown or kept.
    "work_dir", "data_root", "cache_dir", "out_dir", "default_hooks", "visualizer", "vis_backends",
    "log_level", "log_processor", "custom_imports", "env_cfg", "launcher", "load_from", "resume",
    "overlays", "save_png",
    # How the work is shared out.
    "num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "workers",
    # The model's and the seed's part.
    "backbone", "checkpoint", "branch", "randomness",
)  # fmt: skip
"""Keys at any depth that do not count."""

VARIABLES = ("model", "default_scope", "optim_wrapper", "param_scheduler", "auto_scale_lr")
"""Top-level entries that count, besides ``train_*``, ``val_*``, ``test_*`` and hooks."""


def protocol_of(config: Config, *, batch: int | None = None, limit: int | None = None) -> dict:
    """The part of a config that its results hang on.

    Args:
        config: Of a task, before a model is put in.
        batch: Images in one step of training, over all processes.
        limit: Images of each data set at most, None for all.

    Returns:
        Plain values, without paths, models and seeds.
    """
    kept = {
        key: value
        for key, value in config.to_dict().items()
        if key in VARIABLES or key.startswith(("train_", "val_", "test_", "custom_hooks"))
    }
    kept = {key: value for key, value in kept.items() if not key.endswith("_pipeline")}
    # As it will be read from a record: anything that JSON cannot hold by its repr.
    protocol = json.loads(json.dumps(plain(kept, without=NOT_PROTOCOL), default=repr))
    if isinstance(protocol.get("train_dataloader"), dict):
        protocol["train_dataloader"].pop("batch_size", None)
    for name in ("val_dataloader", "test_dataloader"):
        if isinstance(protocol.get(name), dict):
            protocol[name].pop("batch_size", None)
    if batch is not None:
        protocol["batch"] = batch
    if limit is not None:
        protocol["limit"] = limit
    return protocol


def digest_of(value: Any) -> str:
    """A digest of plain values in which the order of a mapping's keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, most: int = 5) -> list[str]:
    """Name what two protocols do not share.

    Args:
        old: The one.
        new: The other.
        most: How many are named.

    Returns:
        Such as ``test_cfg.k: [20] -> [10]``; nothing where they are equal.
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    keys = [*before, *(key for key in after if key not in before)]
    found = [
        f"{key}: {_say(before, key)} -> {_say(after, key)}"
        for key in keys
        if before.get(key, _NOTHING) != after.get(key, _NOTHING)
    ]
    return found[:most] + ([f"and {len(found) - most} more"] if len(found) > most else [])


_NOTHING = object()


def _say(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "(not there)"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    entries: Any = ()
    if isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list) and any(isinstance(entry, (Mapping, list)) for entry in value):
        entries = enumerate(value)
    else:
        yield prefix, value
    for key, entry in entries:
        yield from _flat(entry, f"{prefix}.{key}" if prefix else str(key))
