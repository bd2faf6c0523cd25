"""Exceptions of mmengine's builders that a config causes, as messages with the place in it."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, OPTIMIZERS, Registry

from bam_mm.errors import InputError, listing
from bam_mm.launch.accepted import (
    ALWAYS,
    FILLED,
    FIXED,
    accepted,
    arguments_of,
    classes_of,
    in_scope,
    registries,
)
from bam_mm.launch.library_errors import causes
from bam_mm.launch.options import nearest
from bam_mm.variables.entries import look_up, name_of, plain, walk

_UNKNOWN_TYPE = re.compile(r"(\S+) is not in the (\S+?)::(.+?) registry")
_UNEXPECTED = re.compile(
    r"(\S+)\(\) got (?:an unexpected|multiple values for) (?:keyword )?argument '(\w+)'"
)
_MISSING = re.compile(
    r"(\S+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)"
)
_UNKNOWN_MODEL = re.compile(r"Unknown model \((.+)\)")
_NO_TYPE = re.compile(r'must contain the key "type"')
_BUILDING = ("build_from_cfg", "build_dataloader", "set_randomness", "build_model_from_cfg")
"""Functions of mmengine that call what a config names."""

_REJECTIONS = (
    *(ValueError, AssertionError, TypeError, AttributeError),
    *(ZeroDivisionError, IndexError, KeyError),
)
"""What constructors of the libraries raise for a value that they cannot use."""

_LIBRARIES = frozenset(
    ("mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "timm", "torch", "torchvision", "numpy")
)
"""Packages whose constructors reject values of a config. Others may have a defect."""

_CONSTRUCTORS = (
    "DefaultOptimWrapperConstructor",
    "LearningRateDecayOptimWrapperConstructor",
    "LayerDecayOptimizerConstructor",
    "LayerDecayOptimWrapperConstructor",
)
"""The libraries' constructors of optimizers; one of the user may read other settings."""


def explain(error: BaseException, config: Config) -> InputError | None:
    """Find the place in a config that made a builder of mmengine fail.

    Args:
        error: Exception that left a builder.
        config: Config of the run.

    Returns:
        The message for the user; None if the config did not cause the exception.
    """
    for cause in causes(error):
        text = str(cause.args[0]) if cause.args else ""
        if isinstance(cause, KeyError) and (match := _UNKNOWN_TYPE.match(text)):
            return _unknown_type(config, *match.groups())
        built = any(f.name in _BUILDING for f in traceback.extract_tb(cause.__traceback__))
        if not built:
            continue
        if isinstance(cause, KeyError) and _NO_TYPE.search(text):
            return _no_type(config, text)
        if isinstance(cause, TypeError) and (match := _UNEXPECTED.search(text)):
            return _unexpected(config, *match.groups())
        if isinstance(cause, TypeError) and (match := _MISSING.search(text)):
            return _missing(config, *match.groups())
        if isinstance(cause, RuntimeError) and (match := _UNKNOWN_MODEL.match(text)):
            return _unknown_model(config, match[1])
        if isinstance(cause, _REJECTIONS) and (message := _rejected(cause, config)):
            return message
    return None


def check_keys(config: Config) -> None:
    """Check the parts of a config whose unknown keys mmengine silently ignores, or uses too late.

    Args:
        config: Config of a run.

    Raises:
        InputError: If a hook, or a part such as ``env_cfg`` or ``paramwise_cfg``, has a key that
            nothing reads, ``custom_hooks`` is no list of hooks, or the log has no such level.
    """
    level = config.get("log_level", "INFO")
    if not isinstance(level, int) and not isinstance(logging.getLevelName(level), int):
        raise InputError(
            f"log_level={level!r} of {name_of(config)}: choose DEBUG, INFO, WARNING or ERROR"
        )
    hooks = config.get("custom_hooks") or []
    listed = isinstance(hooks, (list, tuple))
    if not listed or not all(isinstance(each, (Mapping, Hook)) for each in hooks):
        raise InputError(
            f"custom_hooks={plain(hooks)} of {name_of(config)}: write a list of dicts with a type, "
            "as in custom_hooks=[dict(type='bam_mm.LoadBackboneHook')]"
        )
    scope = config.get("default_scope")
    for path, node in walk(config):
        parts = path.split(".")
        if not isinstance(node, Mapping):
            continue
        hook = len(parts) == 2 and parts[0] in ("default_hooks", "custom_hooks")
        fixed = parts[-1] in FIXED and parts[0] in (*FIXED, "optim_wrapper")
        if parts[-1] in ("collate_fn", "worker_init_fn"):
            _check_known(config, FUNCTIONS, node.get("type"))
        if path == "optim_wrapper.optimizer":
            _check_known(config, OPTIMIZERS, node.get("type"))
        if parts[-1] == "paramwise_cfg" and not _known_constructor(config):
            continue
        if hook or fixed:
            known = accepted({**node}, tuple(parts), scope)
            unknown = [] if known is None else [key for key in node if key not in known]
            if unknown:
                raise _no_argument(config, path, unknown[0], known or ())


def _check_known(config: Config, root: Registry, kind: Any) -> None:
    # mmengine would only report that something is not callable.
    scope = config.get("default_scope")
    if isinstance(kind, str) and in_scope(root, scope).get(kind) is None:
        message = _unknown_type(config, kind, scope or root.scope, root.name)
        if message is not None:
            raise message


def check_scope(config: Config) -> None:
    """Check that the default scope of a config exists.

    With another one, mmengine looks up every type in its own registries, with a warning each.

    Args:
        config: Config of a run.

    Raises:
        InputError: If no package and no registry has this name.
    """
    scope = config.get("default_scope")
    if scope is None or scope == "mmengine" or scope in sys.modules:
        return
    if any(scope in root.children for root in registries()):
        return
    try:
        import_module(f"{scope}.registry")
    except ModuleNotFoundError as error:
        known = ("mmpretrain", "mmdet", "mmseg", "mmengine", "bam_mm")
        close = nearest(scope, known) or known
        raise InputError(
            f"default_scope={scope!r} of {name_of(config)}: Python finds no module {error.name}; "
            f"did you mean {' or '.join(close)}?"
        ) from error


def _known_constructor(config: Config) -> bool:
    kind = str((config.get("optim_wrapper") or {}).get("constructor", ""))
    return not kind or kind.startswith("bam_mm.") or kind.rpartition(".")[2] in _CONSTRUCTORS


def _unknown_type(config: Config, kind: str, scope: str, registry: str) -> InputError | None:
    places = [path for path, value in walk(config) if value == kind and path.endswith("type")]
    if not places:
        return None
    known = [
        each if node.scope in (scope, root.scope) else f"{node.scope}.{each}"
        for root in registries()
        if in_scope(root, scope).name == registry
        for node in (root, *root.children.values())
        for each in node.module_dict
    ]
    own = "bam_mm."
    close = nearest(kind, known) or [
        each for each in known if each.startswith(own) and each[len(own) :] == kind
    ]
    close += [each for each in known if each.rpartition(".")[2] == kind.rpartition(".")[2]]
    remedy = (
        f"did you mean {' or '.join(dict.fromkeys(close[:3]))}?"
        if close
        else "correct the name, or name the module that registers it in custom_imports"
    )
    return InputError(
        f"{places[0]}={kind!r} of {name_of(config)}: {scope} and its parents register no such "
        f"{registry}; {remedy}"
    )


def _unexpected(config: Config, function: str, key: str) -> InputError | None:
    name = function.removesuffix(".__init__").rpartition(".")[2]
    holders = [(path, node) for path, node in _dicts(config) if key in node]
    best = [path for path, node in holders if _builds(config, path, node, name)]
    if name == "DataLoader" and not best:
        best = [path for path, node in holders if "num_workers" in node or "dataset" in node]
    # timm's constructor fails for the backbone that names the model.
    best = best or [path for path, node in holders if None in _arguments(config, path, node)]
    if not best and name == "set_randomness":
        best = [path for path, _ in holders if path == "randomness"]
    if not best:
        return None
    node = look_up(config, best[0])[0]
    known = accepted(node, tuple(best[0].split(".")), config.get("default_scope")) or ()
    return _no_argument(config, best[0], key, known)


def _no_argument(config: Config, path: str, key: str, known: Iterable[str]) -> InputError:
    node = look_up(config, path)[0]
    names = sorted({*known} - ALWAYS - FILLED - {key})
    kind = node.get("type") if isinstance(node, Mapping) else None
    owner = (kind if isinstance(kind, str) else getattr(kind, "__name__", path)) or path
    close = nearest(key, names)
    remedy = (
        f"did you mean {' or '.join(close)}?"
        if close
        else f"remove it{f', or choose one of {listing(names, 12)}' if names else ''}"
    )
    return InputError(
        f"{path}.{key}={node.get(key)!r} of {name_of(config)}: {owner} takes no {key!r}; {remedy}"
    )


def _missing(config: Config, function: str, names: str) -> InputError | None:
    name = function.removesuffix(".__init__").rpartition(".")[2]
    places = [path for path, node in _dicts(config) if _builds(config, path, node, name)]
    lacking = re.findall(r"'(\w+)'", names)
    places = [p for p in places if not {*lacking} <= {*look_up(config, p)[0]}]
    if not places:
        return None
    return InputError(
        f"{places[0]} of {name_of(config)}: {name} needs {' and '.join(lacking)}; set "
        f"{places[0]}.{lacking[0]}"
    )


def _unknown_model(config: Config, name: str) -> InputError | None:
    import timm  # Slow to import, and not needed by every config.

    places = [path for path, value in walk(config) if value == name and "model" in path]
    close = nearest(name, timm.list_models(), most=4)
    remedy = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() has all names"
    if not places:
        return None
    return InputError(
        f"{places[0]}={name!r} of {name_of(config)}: timm has no model of this name; {remedy}"
    )


def _rejected(error: BaseException, config: Config) -> InputError | None:
    """Return the message for a library's constructor that fails with the values of the config."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or str(frames[-1].f_globals.get("__name__")).split(".")[0] not in _LIBRARIES:
        return None
    for frame in reversed(frames):
        built = frame.f_locals.get("obj_cls") if frame.f_code.co_name in _BUILDING else None
        name = getattr(built, "__name__", None)
        if name is None:
            continue
        if getattr(built, "__module__", "").split(".")[0] not in _LIBRARIES | {"bam_mm"}:
            return None
        places = [
            (path, node) for path, node in _dicts(config) if _builds(config, path, node, name)
        ]
        if not places:
            continue
        given = plain(frame.f_locals.get("cfg") or {})
        path, node = next((each for each in places if plain(each[1]) == given), places[0])
        values = {
            key: value
            for key, value in node.items()
            if key not in ALWAYS and not isinstance(value, Mapping)
        }
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, (ValueError, AssertionError)):
            text = f"{type(error).__name__}: {text}"
        shown = listing((f"{path}.{key}={value!r}" for key, value in values.items()), 8)
        return InputError(
            f"{path} of {name_of(config)}: {name} does not take its settings ({text}); correct "
            f"{shown or 'them'} (--cfg-options log_level=DEBUG shows the traceback)"
        )
    return None


def _no_type(config: Config, text: str) -> InputError | None:
    for path, node in _dicts(config):
        if "type" not in node and node and f"{plain(node)}" in text.replace("ConfigDict", ""):
            return InputError(
                f"{path}={plain(node)} of {name_of(config)} has no type; add the name of the class "
                f"to build, as in {path}.type=NAME, or set {path}=None"
            )
    return None


def _dicts(config: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((path, node) for path, node in walk(config) if isinstance(node, Mapping))


def _builds(config: Config, path: str, node: Mapping[str, Any], name: str) -> bool:
    """Return whether a dict builds a class of this name, or one derived from it."""
    if node.get("type") is None:
        return False
    classes = classes_of(node["type"], config.get("default_scope"), path)
    return any(
        name in [base.__name__ for base in getattr(found, "__mro__", (found,))] for found in classes
    )


def _arguments(config: Config, path: str, node: Mapping[str, Any]) -> list[Any]:
    if node.get("type") is None:
        return []
    return [
        arguments_of(found) for found in classes_of(node["type"], config.get("default_scope"), path)
    ]
