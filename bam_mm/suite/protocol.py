"""The protocol of a run: all settings that its result depends on, apart from model and seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mmengine.config import Config

from bam_mm.checkpoint.settings import differences
from bam_mm.variables.entries import look_up, plain

NOT_PROTOCOL = (
    # Locations, logging and visualization.
    "work_dir", "data_root", "cache_dir", "out_dir", "default_hooks", "visualizer", "vis_backends",
    "log_level", "log_processor", "custom_imports", "env_cfg", "launcher", "load_from", "resume",
    "overlays", "save_png",
    # Data loading and parallelism.
    "num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "workers",
    # Model and seed.
    "backbone", "checkpoint", "branch", "randomness",
)  # fmt: skip
"""Keys that are not part of the protocol, at any depth."""

VARIABLES = ("model", "default_scope", "optim_wrapper", "param_scheduler", "auto_scale_lr")
"""Top-level keys of the protocol, in addition to ``train_*``, ``val_*``, ``test_*`` and hooks."""


_ALL_CLASSES = {"type": "bam_mm.ClassificationTestLoop", "classes": None}


def protocol_of(config: Config, *, batch: int | None = None, limit: int | None = None) -> dict:
    """Extract the settings of a config that its results depend on.

    Args:
        config: Config of a task, before a model is put into it.
        batch: Number of images in one training step, over all processes.
        limit: Maximum number of images of each data set, None for all.

    Returns:
        Plain values, without paths, models and seeds.
    """
    kept = {
        key: value
        for key, value in config.to_dict().items()
        if key in VARIABLES or key.startswith(("train_", "val_", "test_", "custom_hooks"))
    }
    kept = {key: value for key, value in kept.items() if not key.endswith("_pipeline")}
    if (kept.get("test_cfg") or {}) == _ALL_CLASSES:
        kept["test_cfg"] = {}  # Without a choice of classes, this is mmengine's own loop.
    if (setting := chosen_preprocessing(config)) is not None:
        kept["preprocessing"] = setting
    protocol = recorded(kept)
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


def recorded(value: Any, *, without: Collection[str] = NOT_PROTOCOL) -> Any:
    """Return a value in the form that protocols and records have.

    Args:
        value: Any value of a config.
        without: Keys to leave out at every depth.

    Returns:
        Values of JSON, with the repr of other types.
    """
    return json.loads(json.dumps(plain(value, without=without), default=repr))


def batch_of(config: Config, processes: int) -> int | None:
    """Return the number of images in one training step; None for a config without training.

    Args:
        config: Config of a task.
        processes: Number of processes, each of which has its own batch.
    """
    size = (config.get("train_dataloader") or {}).get("batch_size")
    return None if size is None else size * processes


def protocol_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the differences between two protocols, as recorded.

    The batches in which features are extracted are part of protocols, but not of the results.

    Args:
        old: Protocol of an earlier run.
        new: Protocol of another run.

    Returns:
        Lines such as ``test_cfg.k: [20] -> [10]``, empty if results can be compared.
    """
    return differences(_without_batches(old), _without_batches(new))


def _without_batches(protocol: Any) -> Any:
    """Leave out the batch of every loader; that of a training stands under ``batch``."""
    if not isinstance(protocol, Mapping):
        return protocol
    return {
        key: _without_batches(value)
        for key, value in protocol.items()
        if not (key == "batch_size" and "dataset" in protocol)
    }


def filled_in(text: str, protocols: Iterable[Mapping[str, Any]]) -> str:
    """Fill the settings of protocols into a text that names them.

    Args:
        text: Text with keys of a protocol in braces, such as ``{train_cfg.max_epochs} epochs``.
        protocols: Protocols that ran; different values are joined by "or".

    Returns:
        The text with values, such as ``15 epochs``; ``?`` for a setting that no protocol has.
    """
    known = list(protocols)

    def values(match: re.Match) -> str:
        found = [look_up(protocol, match[1]) for protocol in known]
        texts = dict.fromkeys(_shown(value) for value, there in found if there)
        return " or ".join(texts) or "?"

    return re.sub(r"\{([\w.]+)\}", values, text)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    if isinstance(value, str):
        return value.rpartition(".")[2]
    return f"{value:,}" if isinstance(value, int) else str(value)


def chosen_preprocessing(config: Config) -> Any:
    """Return the setting ``preprocessing``, None if it leaves everything to the model."""
    setting = config.get("preprocessing")
    values = setting.values() if isinstance(setting, Mapping) else [setting]
    return None if all(value in (None, "auto", "model") for value in values) else plain(setting)


def digest_of(value: Any) -> str:
    """Return a digest of plain values that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
