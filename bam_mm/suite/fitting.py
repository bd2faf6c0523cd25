"""Put a model's backbone into a task's config and adapt the widths that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.models import VisionTransformer
from torch import nn

from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, replace
from bam_mm.models.patch_features import build_map_backbone, feature_map, is_timm
from bam_mm.models.probe_features import (
    block_outputs,
    build_token_backbone,
    prefix_tokens,
    probe_feature,
)
from bam_mm.registry import MODELS
from bam_mm.suite.models import Model
from bam_mm.variables.entries import kind_of, loading_hooks, plain

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
        Other settings that had to change, such as ``head.in_channels: 192 -> 768``.

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
    kind = kind_of(config.model)
    try:
        _WIDTHS.get(kind, _dense)(config, before)
    except InputError as error:
        raise InputError(f"{model.name} cannot do this task: {error}") from error
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{model.name} cannot do this task: its backbone ({kind_of(config.model.backbone)}) "
            f"fails on an image: {type(error).__name__}: {reason}"
        ) from error
    return [
        line for line in _changes(before, plain(config.model)) if not line.startswith("backbone")
    ]


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
    elif task.get("drop_path_rate"):
        grafted["drop_path_rate"] = task["drop_path_rate"]
    if same and plain(_settings(task, task_class)) == plain(_settings(grafted, task_class)):
        return dict(task)
    return grafted


def family_of(model: Model) -> str:
    """Return ``vit`` for a backbone with a [CLS] token, else ``cnn``."""
    init_default_scope("mmpretrain")
    import_module("bam_mm")
    backbone = MODELS.build(dict(model.source.config))
    return "vit" if prefix_tokens(backbone) else "cnn"


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


def _frozen_features(config: Config, before: Mapping) -> None:
    model = config.model
    backbone = build_token_backbone(model.backbone, model.get("blocks", 1))
    if model.get("feature", "cls") != "mean" and not prefix_tokens(backbone):
        model.feature = "mean"
    if model.get("feature", "cls") != "mean" or prefix_tokens(backbone):
        backbone = _any_size(model, backbone, lambda b: block_outputs(b, _image(config), 1))
    _probe(config, backbone)


def _probe(config: Config, backbone: nn.Module) -> int:
    model, blocks = config.model, config.model.get("blocks", 1)
    with torch.no_grad():
        outputs = block_outputs(_evaluating(backbone), _image(config), blocks)
        wanted = model.get("feature", "cls")
        feature = probe_feature(outputs, wanted, prefix=prefix_tokens(backbone))
    if feature.ndim != 2:
        raise InputError(
            f"its feature has shape {tuple(feature.shape)} instead of one vector per image"
        )
    return feature.shape[1]


def _frozen_classifier(config: Config, before: Mapping) -> None:
    model = config.model
    backbone = build_token_backbone(model.backbone, model.get("blocks", 1))
    if not prefix_tokens(backbone):
        model.feature = "mean"
        if "blocks" in model:
            model.blocks = 1
    else:
        backbone = _any_size(model, backbone, lambda b: block_outputs(b, _image(config), 1))
    width = _probe(config, backbone)
    model.head.in_channels = width
    if model.get("neck"):
        model.neck.input_features = width


def _classifier(config: Config, before: Mapping) -> None:
    model = config.model
    image = _image(config)
    backbone = _any_size(model, MODELS.build(model.backbone), lambda b: b(image))
    with torch.no_grad():
        output = _evaluating(backbone)(image)
    output = output[-1] if isinstance(output, (tuple, list)) else output
    if output.ndim == 4:
        model.neck = ConfigDict(type="mmpretrain.GlobalAveragePooling")
    elif output.ndim == 2:
        model.pop("neck", None)
    else:
        raise InputError(
            f"{model.backbone.type} returns {tuple(output.shape)}, but a classifier needs a vector "
            "or a map; use mmpretrain's version of the network, as in mmpretrain:vit-base-p16@PATH"
        )
    model.head.in_channels = output.shape[1]


def _label_propagation(config: Config, before: Mapping) -> None:
    model = config.model
    backbone = build_map_backbone(model.backbone, model.get("stage"))
    if "VisionTransformer" in [base.__name__ for base in type(backbone).__mro__]:
        size = model.backbone.get("img_size", 224)
    else:
        size = 224
    with torch.no_grad():
        feature_map(_evaluating(backbone), torch.zeros(1, 3, size, size), model.get("stage"))


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


_WIDTHS: dict[str, Callable[[Config, Mapping], None]] = {
    "FrozenFeatures": _frozen_features,
    "FrozenBackboneClassifier": _frozen_classifier,
    "ImageClassifier": _classifier,
    "LabelPropagation": _label_propagation,
}


def _any_size(model: ConfigDict, backbone: nn.Module, forward: Callable) -> nn.Module:
    """Rebuild a timm transformer for any image size if it rejects the size of the task."""
    if not is_timm(type(backbone)):
        return backbone
    try:
        with torch.no_grad():
            forward(_evaluating(backbone))
    except AssertionError:
        model.backbone.dynamic_img_size = True
        return MODELS.build(model.backbone)
    return backbone


def _evaluating(backbone: nn.Module) -> nn.Module:
    backbone.eval()  # It returns None for backbones of mmpretrain.
    return backbone


def _image(config: Config) -> torch.Tensor:
    """Return a black image of the size that the task's test pipeline produces."""
    loader = config.get("test_dataloader") or config.get("val_dataloader") or {}
    size = 224
    for step in (loader.get("dataset") or {}).get("pipeline") or ():
        if kind_of(step) == "CenterCrop":
            size = step["crop_size"]
    if "img_size" in config.model.backbone and size == 224:
        size = config.model.backbone.img_size
    return torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size))


def _set_everywhere(config: Config, name: str, value: Any) -> None:
    """Set a variable of the task, also where a hook has a value of its own."""
    config[name] = value
    for hook in loading_hooks(config):
        if hook.get(name) is not None:
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
