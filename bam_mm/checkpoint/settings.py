"""The settings that a training's numbers depend on, and how they differ from a checkpoint's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bam_mm.checkpoint.recorded_config import parse_assignments

PARTS = (
    "model", "data_preprocessor", "optim_wrapper", "param_scheduler", "train_cfg",
    "train_dataloader", "auto_scale_lr", "randomness", "default_hooks", "custom_hooks",
)  # fmt: skip
"""Top-level keys of a config that its training reads."""

MOST, MANY = 5, 10**6
"""Number of differences that a message lists, and more than there can be."""

NEUTRAL = frozenset((
    # Lengths: a training may be continued for longer. Its schedule is compared.
    "max_epochs", "max_iters", "val_interval", "val_begin", "dynamic_intervals",
    # Places: data may be moved. Number and names of the images are compared.
    "data_root", "ann_file", "data_prefix", "img_prefix", "backend_args", "cache_dir", "out_dir",
    "subset", "checkpoint", "load_from", "init_cfg",
    # Loading, memory and speed, with the same numbers.
    "num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "pin_memory_device",
    "batch_size", "accumulative_counts", "collate_fn", "lazy", "on_error", "with_cp",
    "activation_checkpointing", "implementation", "fused", "foreach", "diff_rank_seed",
    "deterministic", "_scope_", "_delete_",
))  # fmt: skip
"""Keys that are not compared, at any depth. Batch sizes and data are compared as facts."""

PRECISION = ("type", "dtype", "loss_scale", "use_fsdp")
"""Keys of an optimizer wrapper that depend on the machine: on a CPU, no wrapper is mixed."""

TRAINING_HOOKS = frozenset((
    "TeacherUpdateHook", "BoxUpdateHook", "FrozenBackboneHook", "EMAHook", "PreciseBNHook",
    "SwAVHook", "SimSiamHook", "DenseCLHook", "MeanTeacherHook", "PipelineSwitchHook",
    "SwitchRecipeHook", "YOLOXModeSwitchHook",
))  # fmt: skip
"""Hooks of this package and the libraries that change the numbers of a training.

Others watch, log or save, or are your own; they are not compared.
"""


def training_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Extract the settings of a config that the numbers of its training depend on.

    Args:
        config: Values by name; of mmengine's ``Config``, the result of ``to_dict()``.

    Returns:
        Plain values as JSON stores them, without places, lengths, logging, workers, batch sizes,
        the settings of precision, and entries that have no effect.
    """
    found = {name: config[name] for name in PARTS if config.get(name) is not None}
    for name in ("default_hooks", "custom_hooks"):
        if name in found:
            found[name] = _hooks_that_matter(found[name])
    if isinstance(wrapper := found.get("optim_wrapper"), Mapping):
        found["optim_wrapper"] = {k: v for k, v in wrapper.items() if k not in PRECISION}
    if not (found.get("auto_scale_lr") or {}).get("enable"):
        found.pop("auto_scale_lr", None)
    plain = json.loads(json.dumps(_without_neutral(found), default=repr))
    return {name: value for name, value in plain.items() if value not in ({}, [])}


def setting_differences(recorded: str, config: Mapping[str, Any]) -> list[str]:
    """List the settings of a run that differ from those of a checkpoint.

    Args:
        recorded: Config in the checkpoint (``meta.cfg``), as mmengine prints it.
        config: Config of the run.

    Returns:
        Lines such as ``randomness.seed: 0 -> 7``; empty if nothing differs, or if the checkpoint
        holds no config that can be read.
    """
    try:
        settings, left_out = parse_assignments(recorded)
    except SyntaxError:
        return []
    if not settings:
        return []
    before, after = training_settings(settings), training_settings(config)
    # A value that is no literal cannot be compared. Without a seed, a run that is resumed continues
    # with that of its checkpoint.
    skipped = {*left_out, *({"randomness"} - (before.keys() & after.keys()))}
    old, new = ({k: v for k, v in s.items() if k not in skipped} for s in (before, after))
    # First what decides about the rest, such as the type of the model.
    found = sorted(differences(old, new, most=MANY), key=lambda line: line.split(":")[0].count("."))
    return found[:MOST] + ([f"and {len(found) - MOST} more"] if len(found) > MOST else [])


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, most: int = 5) -> list[str]:
    """List the differences between two settings.

    Args:
        old: Settings of an earlier run.
        new: Settings of a new run.
        most: Maximum number of differences to list; the rest is counted.

    Returns:
        Lines such as ``test_cfg.k: [20] -> [10]``, empty if the settings are equal.
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    keys = [*before, *(key for key in after if key not in before)]
    found = [
        f"{key}: {_text(before, key)} -> {_text(after, key)}"
        for key in keys
        if before.get(key, _MISSING) != after.get(key, _MISSING)
    ]
    return found[:most] + ([f"and {len(found) - most} more"] if len(found) > most else [])


def _hooks_that_matter(hooks: Any) -> Any:
    if isinstance(hooks, Mapping):
        return {name: hook for name, hook in hooks.items() if _changes_numbers(hook)}
    return [hook for hook in hooks if _changes_numbers(hook)]


def _changes_numbers(hook: Any) -> bool:
    kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rpartition(".")[2] in TRAINING_HOOKS


def _without_neutral(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _without_neutral(v) for k, v in value.items() if k not in NEUTRAL}
    if isinstance(value, (list, tuple)):
        return [_without_neutral(entry) for entry in value]
    return value


_MISSING = object()


def _text(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "(not set)"


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
