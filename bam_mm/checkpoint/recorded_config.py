"""Reading the config of the backbone that mmengine stores in a checkpoint, without running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

from bam_mm.checkpoint.mmpretrain_index import whole_image_backbone
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.errors import InputError
from bam_mm.registry import MMENGINE_MODELS, SCOPE


def recorded_backbone(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Return the config of the backbone with which a checkpoint was trained.

    A class of a pretraining that hides patches becomes the one that computes features of whole
    images with the same tensors, see :func:`~bam_mm.checkpoint.mmpretrain_index.index_backbone`.

    Args:
        path: Checkpoint of a run of mmengine.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        Config of the backbone, with the scope of its registry in ``type``.

    Raises:
        InputError: If the checkpoint does not contain a config with a backbone.
    """
    content = read_checkpoint(path, trust=trust)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        config = backbone_settings(parse_settings(text or ""))
    except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            f"checkpoint {path} does not state which backbone it holds (files of this package do, "
            "in meta.cfg): name it yourself, as in mmpretrain:vit-base-p16@PATH or "
            "timm:vit_base_patch16_224@PATH"
        ) from error
    _check_types(config, path)
    return whole_image_backbone(config)


def backbone_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the backbone in the settings of a run.

    Args:
        settings: Values of the run's config by name.

    Returns:
        Config of the backbone without its initialisation, with the scope of its registry in
        ``type``.

    Raises:
        KeyError: If the settings have no backbone with a type.
    """
    config = dict(settings["model"]["backbone"])
    kind = config["type"]
    kind = f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else str(kind)
    scope = settings.get("default_scope", "mmpretrain")
    config["type"] = kind if "." in kind else f"{scope}.{kind}"
    config.pop("init_cfg", None)
    return _by_registry(config)


def _by_registry(value: Any) -> Any:
    """Replace the places of classes, which configs of pure Python record, by registered names.

    ``mmpretrain.models.MoCoV3ViT`` becomes ``mmpretrain.MoCoV3ViT``.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(_by_registry(item) for item in value)
    if not isinstance(value, dict):
        return value
    found = {key: _by_registry(item) for key, item in value.items()}
    kind = found.get("type")
    parts = kind.split(".") if isinstance(kind, str) else []
    if len(parts) > 2 and parts[1] == "models":
        found["type"] = f"{parts[0]}.{parts[-1]}"
    elif len(parts) > 2 and parts[:2] == ["torch", "nn"]:
        found["type"] = parts[-1]
    return found


def _check_types(value: Any, path: str | Path) -> None:
    # The registries of mmengine import what they do not know by its name, whatever it is, so that
    # type='os.system' would run a command.
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_types(item, path)
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    if isinstance(kind, str) and not _is_registered(kind):
        raise InputError(
            f"checkpoint {path} records a backbone with the type {kind!r}, which is no registered "
            "module: name the backbone yourself, as in mmpretrain:vit-base-p16@PATH or "
            "timm:vit_base_patch16_224@PATH, or import the package that registers it"
        )
    for item in value.values():
        _check_types(item, path)


def _is_registered(kind: str) -> bool:
    scope, _, name = kind.rpartition(".")
    known = {SCOPE, "mmengine", "mmcv", *MODULE2PACKAGE, *MMENGINE_MODELS._children}
    return name.isidentifier() and (not scope or scope in known)


def parse_settings(text: str) -> dict[str, Any]:
    """Parse the assignments in a config that mmengine has printed as Python code.

    Values may be literals, containers and ``dict(...)``. Other assignments are left out.

    Args:
        text: Python code such as ``model = dict(type='BAM')``.

    Returns:
        The assigned values by name.

    Raises:
        SyntaxError: If the text is not valid Python.
    """
    return parse_assignments(text)[0]


def parse_assignments(text: str) -> tuple[dict[str, Any], set[str]]:
    """Parse the assignments in a config, and name those that cannot be parsed.

    Args:
        text: Python code such as ``model = dict(type='BAM')``.

    Returns:
        The assigned values by name, and the names of the assignments that are left out.

    Raises:
        SyntaxError: If the text is not valid Python.
    """
    settings: dict[str, Any] = {}
    left_out = set()
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            try:
                settings[name] = _value(statement.value)
            except ValueError:
                left_out.add(name)
    return settings, left_out


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "dict":
        # mmengine prints dict({'.bias': 1}) if a key is no identifier.
        parts = [_value(entry) for entry in node.args]
        parts += [{keyword.arg: _value(keyword.value)} for keyword in node.keywords]
        if all(isinstance(part, dict) and None not in part for part in parts):
            return {key: value for part in parts for key, value in part.items()}
    if isinstance(node, ast.Dict):
        keys = [key for key in node.keys if key is not None]
        if len(keys) == len(node.values):  # A key is None in {**other}.
            return {_value(k): _value(v) for k, v in zip(keys, node.values, strict=True)}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)
