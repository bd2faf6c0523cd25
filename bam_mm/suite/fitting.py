"""Put a model's backbone into a task's config and adapt the widths that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.models import ResNet, VisionTransformer

from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules
from bam_mm.models.caformer import CAFormer
from bam_mm.models.patch_features import is_timm
from bam_mm.registry import MODELS, registered_class
from bam_mm.suite.fitting_dense import PLAIN_VITS, fit_dense, has_batch_norm
from bam_mm.suite.fitting_features import (
    classifier,
    frozen_classifier,
    frozen_features,
    frozen_maps,
    is_transformer,
    label_propagation,
    many_probes,
)
from bam_mm.suite.fitting_images import BUILD_FAILURES
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
    kind = kind_of(config.model)
    try:
        notes = _WIDTHS.get(kind, fit_dense)(config, before)
    except InputError as error:
        raise InputError(f"{model.name} cannot do this task: {error}") from error
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{model.name} cannot do this task: its backbone ({kind_of(config.model.backbone)}) "
            f"fails on an image: {type(error).__name__}: {reason}"
        ) from error
    changed = _changes(before, plain(config.model))
    return [*(line for line in changed if not line.startswith("backbone")), *(notes or [])]


def add_imports(config: Config, modules: Sequence[str]) -> None:
    """Let a task import modules that register a model's backbone, and import them here.

    Args:
        config: Config of the task, changed in place.
        modules: Names of the modules.
    """
    if modules:
        own = config.get("custom_imports") or {}
        imports = list(dict.fromkeys([*own.get("imports", ()), *modules]))
        config.custom_imports = dict(imports=imports, allow_failed_imports=False)
        import_custom_modules(config)


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
    model_class, task_class = registered_class(model["type"]), registered_class(task["type"])
    both_vit = model_class.__name__ in PLAIN_VITS and issubclass(task_class, VisionTransformer)
    if both_vit and isinstance(grafted.get("arch"), str):
        grafted["arch"] = dict(model_class.arch_zoo[grafted["arch"]])
    derived = (
        issubclass(task_class, model_class)
        and (is_timm(model_class) or model_class is ResNet)
        # A CAFormer takes other arguments than the other networks of timm.
        and issubclass(task_class, CAFormer) == issubclass(model_class, CAFormer)
    )
    same = both_vit or model_class is task_class or derived
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
    """Return the family of a model's backbone, see :data:`~bam_mm.suite.definitions.FAMILIES`.

    Raises:
        InputError: If the library does not build the backbone.
    """
    init_default_scope("mmpretrain")
    import_module("bam_mm")
    for module in model.imports:
        import_module(module)
    config = dict(model.source.config)
    try:
        backbone = MODELS.build(config)
    except InputError as error:
        raise InputError(f"{model.name}: {error}") from error
    except BUILD_FAILURES as error:
        what = f"{config['type']} does not build {config.get('model_name', 'it')}"
        reason = (str(error).strip().splitlines() or [""])[0]
        why = f"({type(error).__name__}: {reason})"
        if model.method:
            raise InputError(
                f"method {model.method}: {what} {why}; correct model.backbone in its config "
                f"({model.source.spec}) or in --cfg-options"
            ) from error
        raise InputError(
            f"{model.name}: {what} {why}; choose another model, see docs/backbones.md"
        ) from error
    if is_transformer(backbone):
        return "vit"
    return "cnn" if has_batch_norm(backbone) else "layernorm"


def _settings(config: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Replace the name of an architecture by its settings, so that configs can be compared."""
    settings = dict(config)
    if isinstance(settings.get("arch"), str) and hasattr(kind, "arch_zoo"):
        settings["arch"] = dict(kind.arch_zoo[settings["arch"]])
    return settings


_WIDTHS: dict[str, Callable[[Config, Mapping], list[str] | None]] = {
    "FrozenFeatures": frozen_features,
    "FrozenMaps": frozen_maps,
    "FrozenBackboneClassifier": frozen_classifier,
    "ImageClassifier": classifier,
    "LabelPropagation": label_propagation,
    "ManyLinearProbes": many_probes,
}


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
    if _typed(before) and _typed(after):
        named = [{kind_of(entry): entry for entry in parts} for parts in (before, after)]
        return _changes(named[0], named[1], prefix)
    return [] if before == after or prefix == "branch" else [f"{prefix}: {before} -> {after}"]


def _typed(value: Any) -> bool:
    """Return whether a value is a list of parts, such as necks, each of another class."""
    entries = value if isinstance(value, list) else []
    named = bool(entries) and all(isinstance(e, Mapping) and "type" in e for e in entries)
    return named and len({kind_of(entry) for entry in entries}) == len(entries)
