"""Entries of a config by dotted key, and which entries at its top something reads."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

RUNNER_KEYS = frozenset(
    {
        *inspect.signature(Runner.__init__).parameters,
        *("activation_checkpointing", "broadcast_buffers", "compile", "custom_imports"),
        *("detect_anomalous_params", "efficient_conv_bn_eval", "find_unused_parameters"),
        *("model_wrapper_cfg", "runner_type", "strategy", "sync_bn", "tta_model", "tta_pipeline"),
        "preprocessing",
    }
) - {"self", "cfg"}
"""Entries at the top of a config that runners, the libraries' tools and this package read."""

READ_AT_THE_START = ("checkpoint", "branch")
"""Variables that ``bam_mm.LoadBackboneHook`` reads from the run's config."""

LOADS = "loads the backbone from `checkpoint`"
"""Task of that hook, for :func:`lacking_hook`."""

FOLDER = "data_root"
"""Variable with the folder of the data; paths of data below it belong to it."""

DOCUMENTED = frozenset(
    {
        *(FOLDER, *READ_AT_THE_START, "num_classes", "metainfo", "subset", "orientation"),
        *("lr", "max_epochs", "max_iters", "warmup_epochs", "warmup_iters", "layer_decay_rate"),
        *("layout", "photometric", "crop_size", "cache_dir", "train_pipeline", "test_pipeline"),
    }
)
"""Variables of this package's configs that are meant to be set."""


def plain(value: Any, *, without: Collection[str] = ()) -> Any:
    """Convert a value of a config to plain dicts and lists.

    Args:
        value: Any value of a config.
        without: Keys to leave out at every depth.

    Returns:
        The value with ``dict`` for any mapping and ``list`` for tuples, so that values that differ
        only in these types are equal. Values of other types are unchanged.
    """
    if isinstance(value, Mapping):
        return {
            str(key): plain(entry, without=without)
            for key, entry in value.items()
            if key not in without
        }
    if isinstance(value, (list, tuple)):
        return [plain(entry, without=without) for entry in value]
    return value


def look_up(config: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """Return the value of a dotted key, None if there is none, and whether there is one."""
    node: Any = config
    for part in key.split("."):
        if isinstance(node, (Mapping, Config)):
            if part not in node:
                return None, False
            node = node[part]
        elif isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None, False
    return node, True


def walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every entry of a config, outer ones first."""
    for key, value in node.items() if isinstance(node, (Mapping, Config)) else enumerate(node):
        path = f"{prefix}.{key}" if prefix else str(key)
        yield path, value
        if isinstance(value, (Mapping, list, tuple)):
            yield from walk(value, path)


def kind_of(node: Any) -> str:
    """Return the name of a part's ``type``, a text or a class, without its scope or module."""
    kind = node.get("type", "") if isinstance(node, Mapping) else ""
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).rpartition(".")[2]


def name_of(config: Any) -> str:
    """Return the file of a config for messages."""
    return getattr(config, "filename", None) or "the config"


def initialising_checkpoint(config: Mapping[str, Any]) -> str | None:
    """Return the checkpoint of a ``PretrainedBackbone`` in the model or its backbone, or None."""
    model = config.get("model") or {}
    for part in (model.get("backbone") or {}, model):
        given = part.get("init_cfg")
        for entry in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(entry, Mapping) and kind_of(entry) == "PretrainedBackbone":
                return entry.get("checkpoint")
    return None


def loading_hooks(config: Mapping[str, Any]) -> list[Any]:
    """Return the entries of ``default_hooks`` and ``custom_hooks`` that load a backbone."""
    hooks = [*(config.get("default_hooks") or {}).values(), *(config.get("custom_hooks") or ())]
    return [hook for hook in hooks if kind_of(hook) == "LoadBackboneHook"]


def lacking_hook(config: Mapping[str, Any], hook: str, task: str) -> str:
    """Return the message for a config that lacks a hook of this package.

    Args:
        config: The config.
        hook: Name of the hook's class.
        task: What the hook does, as in ``updates the teacher``.
    """
    return (
        f"custom_hooks of {name_of(config)} has no bam_mm.{hook}, which {task}: a list replaces "
        "the one of the base, so write custom_hooks = [*_base_.custom_hooks, ...], or add "
        f"dict(type='bam_mm.{hook}')"
    )
