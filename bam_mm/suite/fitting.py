"""Put a model's backbone into a task's config and adapt the widths that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.models import VisionTransformer
from torch import nn

from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, plain, replace
from bam_mm.models.patch_features import is_timm
from bam_mm.registry import MODELS
from bam_mm.suite.fitting_features import (
    classifier,
    frozen_classifier,
    frozen_features,
    is_transformer,
    label_propagation,
)
from bam_mm.suite.fitting_features import task_image as _image
from bam_mm.suite.models import Model

KEPT = (
    "drop_path_rate", "blocks", "stages", "norm", "frozen", "activation_checkpointing",
    "out_indices", "out_type", "frozen_stages", "norm_eval", "norm_cfg", "with_cp",
)  # fmt: skip
"""Keys of a task's backbone config that belong to the protocol, not to the network."""

DROPPED = ("stop_grad_conv1", "init_cfg", "out_type", "out_indices", "frozen_stages", "norm_eval",
           "with_cp", "activation_checkpointing", "drop_path_rate", "drop_rate")  # fmt: skip
"""Keys of a model's backbone config that belong to its pretraining."""

PLAIN_VITS = ("VisionTransformer", "MoCoV3ViT")
"""mmpretrain classes that implement the same network."""


def fit(config: Config, model: Model) -> list[str]:
    """Put a model into a task's config, in place.

    Args:
        config: Config of the task.
        model: Model whose backbone and weights replace those of the config.

    Returns:
        Other settings that had to change, such as ``head.in_channels: 192 -> 768``, and what the
        task takes from the model, such as the stage and stride of its map.

    Raises:
        InputError: If the model cannot do the task; the message names the reason.
    """
    import_custom_modules(config)
    init_default_scope(config.get("default_scope", "mmpretrain"))
    before = plain(config.model)
    config.model.backbone = ConfigDict(graft(config.model.backbone, model.source.config))
    if "checkpoint" in config:
        _set_everywhere(config, "checkpoint", model.checkpoint)
        _set_everywhere(config, "branch", model.source.branch)
    if "branch" in config.model:
        config.model.branch = model.source.branch
    kind = str(config.model.type).rpartition(".")[2]
    try:
        notes = _WIDTHS.get(kind, _dense)(config, before)
    except InputError as error:
        raise InputError(f"{model.name} cannot do this task: {error}") from error
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{model.name} cannot do this task: its backbone "
            f"({config.model.backbone.type}) fails on an image: {type(error).__name__}: {reason}"
        ) from error
    changed = _changes(before, plain(config.model))
    return [*(line for line in changed if not line.startswith("backbone")), *(notes or [])]


def graft(task: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the network of a model with the protocol of a task.

    If both backbones are vision transformers of mmpretrain, the result has the architecture and the
    sizes of the model but the class of the task, which decides what is trained and which maps are
    returned.

    Args:
        task: Backbone config of the task.
        model: Backbone config of the model.

    Returns:
        Config of the backbone to build.
    """
    grafted = {k: v for k, v in model.items() if k not in DROPPED}
    model_class, task_class = _class_of(model["type"]), _class_of(task["type"])
    both_vit = model_class.__name__ in PLAIN_VITS and issubclass(task_class, VisionTransformer)
    if both_vit and isinstance(grafted.get("arch"), str):
        grafted["arch"] = dict(model_class.arch_zoo[grafted["arch"]])
    same = (
        both_vit
        or model_class is task_class
        or (issubclass(task_class, model_class) and is_timm(model_class))
    )
    if same:
        grafted["type"] = task["type"]
        grafted.update({k: v for k, v in task.items() if k in KEPT})
    elif task.get("drop_path_rate") and _takes(model_class, "drop_path_rate"):
        grafted["drop_path_rate"] = task["drop_path_rate"]
    if same and plain(_settings(task, task_class)) == plain(_settings(grafted, task_class)):
        return dict(task)
    return grafted


def _takes(kind: Any, argument: str) -> bool:
    parameters = signature(kind).parameters.values()
    return any(p.name == argument or p.kind == p.VAR_KEYWORD for p in parameters)


def family_of(model: Model) -> str:
    """Return ``vit`` for a backbone with tokens or with blocks of one stride, else ``cnn``.

    Raises:
        InputError: If the library does not build the backbone.
    """
    init_default_scope("mmpretrain")
    import_module("bam_mm")
    config = dict(model.source.config)
    try:
        backbone = MODELS.build(config)
    except (AssertionError, TypeError) as error:
        raise InputError(
            f"{model.name}: {config['type']} does not build {config.get('model_name', 'it')} "
            f"({type(error).__name__}: {error}); choose another model, see docs/backbones.md"
        ) from error
    return "vit" if is_transformer(backbone) else "cnn"


def _settings(config: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Replace the name of an architecture by its settings, so that configs can be compared."""
    settings = dict(config)
    if isinstance(settings.get("arch"), str) and hasattr(kind, "arch_zoo"):
        settings["arch"] = dict(kind.arch_zoo[settings["arch"]])
    return settings


def _class_of(kind: str | type) -> Any:
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind)
    if found is None:
        raise InputError(f"backbone type {kind!r} is not registered: import its module")
    return found


def _dense(config: Config, before: Mapping) -> None:
    """Adapt the necks and heads of a detector or segmentor to the width of the backbone's maps."""
    model = config.model
    with torch.no_grad():
        outputs = _evaluating(MODELS.build(model.backbone))(_image(config))
    if not isinstance(outputs, (tuple, list)) or any(map_.ndim != 4 for map_ in outputs):
        raise InputError(
            f"{model.backbone.type} returns no maps, but {model.type} needs several; add a config "
            "of this task for such a backbone, see docs/suite.md"
        )
    widths = [map_.shape[1] for map_ in outputs]
    wanted = _wanted_widths(model)
    if wanted is None or widths == wanted:
        return
    if len(widths) != len(wanted) or len({*widths}) > 1 or len({*wanted}) > 1:
        raise InputError(
            f"{model.backbone.type} returns maps with {widths} channels, but the config's neck "
            f"takes {wanted}; add a config of this task for such a backbone, see docs/suite.md"
        )
    old, new = wanted[0], widths[0]

    def widen(value: Any) -> Any:
        if value == old:
            return new
        if isinstance(value, (list, tuple)) and set(value) == {old}:
            return [new] * len(value)
        return value

    for part in ("neck", "decode_head", "auxiliary_head"):
        replace(model.get(part), ("embed_dim", "in_channels"), widen)


def _wanted_widths(model: Mapping) -> list[int] | None:
    heads = [model.get("neck"), model.get("decode_head")]
    for node in heads[0] if isinstance(heads[0], list) else heads[:1]:
        if node and node.get("embed_dim"):
            return [node["embed_dim"]] * len(node.get("rescales", (4, 2, 1, 0.5)))
        if node and isinstance(node.get("in_channels"), (list, tuple)):
            return list(node["in_channels"])
    return (
        list(heads[1]["in_channels"])
        if heads[1] and isinstance(heads[1].get("in_channels"), (list, tuple))
        else None
    )


_WIDTHS: dict[str, Callable[[Config, Mapping], list[str] | None]] = {
    "FrozenFeatures": frozen_features,
    "FrozenBackboneClassifier": frozen_classifier,
    "ImageClassifier": classifier,
    "LabelPropagation": label_propagation,
}


def _evaluating(backbone: nn.Module) -> nn.Module:
    backbone.eval()  # It returns None for backbones of mmpretrain.
    return backbone


def _set_everywhere(config: Config, name: str, value: Any) -> None:
    config[name] = value
    for hook in config.get("custom_hooks") or ():
        if str(hook.get("type", "")).endswith("LoadBackboneHook"):
            hook[name] = value


def _changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    """List the settings that differ, such as ``head.in_channels: 192 -> 768``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            line
            for key in keys
            for line in _changes(
                before.get(key), after.get(key), f"{prefix}.{key}" if prefix else str(key)
            )
        ]
    lists = isinstance(before, list) and isinstance(after, list) and len(before) == len(after)
    if lists and any(isinstance(entry, Mapping) for entry in before):
        return [
            line
            for n, pair in enumerate(zip(before, after, strict=True))
            for line in _changes(*pair, f"{prefix}.{n}")
        ]
    return [] if before == after or prefix == "branch" else [f"{prefix}: {before} -> {after}"]
