"""Which settings a part of a config accepts: by the signature of its class, or by a list."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import mmengine.registry
from mmengine import registry as roots
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import LogProcessor, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.utils.data import DataLoader

from bam_mm.data.photometric import PhotometricSpec
from bam_mm.launch.data_folders import SCOPES
from bam_mm.variables.entries import RUNNER_KEYS
from bam_mm.views import ViewLayout

ALWAYS = frozenset({"type", "_delete_", "_scope_"})
"""Keys that mmengine understands in every dict."""

_BUILDERS: tuple[tuple[str, frozenset[str]], ...] = (
    (r"hooks\.\w+$", frozenset({"priority"})),
    (r"^param_scheduler(\.\d+)?$", frozenset({"convert_to_iter_based"})),
    # The last two belong to the wrapper that --amp chooses.
    (r"^optim_wrapper$", frozenset({"constructor", "paramwise_cfg", "dtype", "loss_scale"})),
    (r"^train_cfg$", frozenset({"by_epoch"})),
    (r"^strategy$", frozenset({"model_wrapper", "sync_bn"})),
)
"""Keys that mmengine's builders take out before they build the class at a place of a config."""

_LOADER = frozenset(
    {"dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "num_batch_per_epoch"}
    | {"disable_subprocess_warning"}
)
"""Keys of a loader that mmengine's builder reads."""

FILLED = frozenset({"params", "runner", "dataloader", "evaluator", "self"})
"""Arguments that mmengine passes itself; no config sets them."""

_FREE = frozenset({"custom_keys", "init_kwargs", "dist_cfg", "backend_args", "init_backend"})
_FREE |= {"preprocessing"}
"""Dicts with names of the user's choice, or whose keys are checked elsewhere."""

_PARAMWISE = frozenset(
    {"bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult"}
    | {"dcn_offset_lr_mult", "bypass_duplicate", "custom_keys", "num_layers", "decay_rate"}
    | {"decay_type", "layer_decay_rate", "lr_mult", "decay_mult"}
)

HOOK_NAMES = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
"""Default hooks that mmengine adds itself, so that an option may switch them off by name."""


def _parameters(*callables: Callable) -> frozenset[str]:
    return frozenset(name for each in callables for name in inspect.signature(each).parameters)


FIXED: Mapping[str, frozenset[str]] = {
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
    "mp_cfg": _parameters(set_multi_processing),
    "randomness": _parameters(Runner.set_randomness) - {"self"},
    "auto_scale_lr": frozenset({"enable", "base_batch_size"}),
    "custom_imports": frozenset({"imports", "allow_failed_imports"}),
    "paramwise_cfg": _PARAMWISE,
    "clip_grad": frozenset(
        {"type", "max_norm", "norm_type", "error_if_nonfinite", "foreach", "clip_value"}
    ),
    "log_processor": _parameters(LogProcessor),
    "layout": _parameters(ViewLayout),
    "photometric": _parameters(PhotometricSpec),
}
"""Accepted keys of dicts without a class, by the name of the dict or of the list of dicts."""

_DEFAULT_TYPES = {
    "optim_wrapper": ("OptimWrapper",),
    "train_cfg": ("EpochBasedTrainLoop", "IterBasedTrainLoop"),
    "val_cfg": ("ValLoop",),
    "test_cfg": ("TestLoop",),
    "visualizer": ("Visualizer",),
}
"""Classes of entries at the top of a config that need no type."""


def accepted(node: Mapping[str, Any], path: tuple[str, ...], scope: str | None) -> set[str] | None:
    """Return the keys that a dict of a config may have, besides those that it has.

    Args:
        node: Dict of the config.
        path: Keys that lead to it.
        scope: Default scope of the config.

    Returns:
        The keys; None if any is accepted, or if the class cannot be found.
    """
    if not path:
        return {*RUNNER_KEYS}
    name = path[-2] if path[-1].isdigit() and path[-2:-1] else path[-1]
    if name in _FREE:
        return None
    if name.endswith("_dataloader") or "num_workers" in node:
        return {*_parameters(DataLoader), *_LOADER, "pipeline"}
    kinds: tuple[Any, ...] = (node["type"],) if node.get("type") is not None else ()
    if not kinds and len(path) == 1:
        kinds = _DEFAULT_TYPES.get(name, ())
        if name == "test_cfg" and scope not in SCOPES:
            kinds = (*kinds, "bam_mm.ClassificationTestLoop")  # what bam-mm test then runs
    if not kinds:
        return {*FIXED[name], *ALWAYS} if name in FIXED else {*ALWAYS}
    if name in FIXED and name != "log_processor":
        return {*FIXED[name], *ALWAYS}
    dotted = ".".join(path)
    classes = [found for kind in kinds for found in classes_of(kind, scope, dotted)]
    arguments = [arguments_of(found) for found in classes]
    if not classes or None in arguments:
        return None
    taken = [keys for pattern, keys in _BUILDERS if re.search(pattern, dotted)]
    return {*ALWAYS, *(n for names in (*arguments, *taken) for n in names or ())} - FILLED


_PLACES: tuple[tuple[str, Registry], ...] = (
    (r"(pipeline|transforms)\.\d+$", roots.TRANSFORMS),
    (r"hooks\.\w+$", roots.HOOKS),
    (r"dataset$", roots.DATASETS),
    (r"^(train|val|test)_cfg$", roots.LOOPS),
    (r"^(val|test)_evaluator(\.\d+)?$", roots.METRICS),
    (r"^optim_wrapper$", roots.OPTIM_WRAPPERS),
    (r"^optim_wrapper\.optimizer$", roots.OPTIMIZERS),
    (r"^param_scheduler(\.\d+)?$", roots.PARAM_SCHEDULERS),
    (r"vis_backends\.\d+$", roots.VISBACKENDS),
    (r"^visualizer$", roots.VISUALIZERS),
    (r"sampler$", roots.DATA_SAMPLERS),
    (r"^model(\.|$)", roots.MODELS),
)
"""The registry that builds the dict at a place of a config, by a pattern of its dotted path."""


def classes_of(kind: Any, scope: str | None, path: str = "") -> list[Any]:
    """Return the classes that have a name in the registries of a scope.

    Args:
        kind: ``type`` of a config's dict: a name or a class.
        scope: Default scope of the config.
        path: Dotted path of the dict. The registry that builds such a dict is searched first.

    Returns:
        The class of that registry; else those of all registries.
    """
    if not isinstance(kind, str):
        return [kind]
    likely = [root for pattern, root in _PLACES if re.search(pattern, path)]
    if found := [entry for root in likely if (entry := _find(root, scope, kind)) is not None]:
        return found[:1]
    every = [_find(root, scope, kind) for root in registries()]
    return list(dict.fromkeys(entry for entry in every if entry is not None))


def in_scope(root: Registry, scope: str | None) -> Registry:
    """Return a library's own part of a registry, the root itself if it has none."""
    if scope is not None and scope not in root.children:
        with suppress(ImportError):
            import_module(f"{scope}.registry")
    return root.children.get(scope, root)


def registries() -> Iterator[Registry]:
    """Yield the root registries of mmengine."""
    for value in vars(mmengine.registry).values():
        if isinstance(value, Registry):
            yield value


def _find(root: Registry, scope: str | None, kind: str) -> Any:
    try:
        return in_scope(root, scope).get(kind)
    except (KeyError, RuntimeError):  # mmengine raises them for some unknown names with dots.
        return None


@cache
def arguments_of(found: Any) -> frozenset[str] | None:
    """Return the names of a class's arguments, with those that it hands to its base classes.

    Args:
        found: Class or function.

    Returns:
        The names; None if it accepts any.
    """
    try:
        return _of_class(found) if inspect.isclass(found) else _of_function(found)
    except (TypeError, ValueError):  # Some builtins have no signature.
        return None


def _of_function(found: Any) -> frozenset[str] | None:
    names, rest = _signature(found)
    return None if rest else frozenset(names)


def _of_class(found: type) -> frozenset[str] | None:
    names: set[str] = set()
    for base in found.__mro__:
        init = vars(base).get("__init__")
        if init is None or base in (object, nn.Module):
            continue
        own, rest = _signature(init)
        names |= own
        if not rest:
            break
        if base is CheckpointHook:
            # What it does not know reaches the method that saves, after the first epoch.
            return frozenset(names | (_parameters(Runner.save_checkpoint) - {"self"}))
        taken = _taken_before_super(init, rest)
        if taken is None:
            return None
        names |= taken
    return frozenset(names)


def _signature(function: Any) -> tuple[set[str], str]:
    """Return the named parameters of a function, and the name of its ``**kwargs`` or ``""``."""
    parameters = list(inspect.signature(function).parameters.values())
    ends = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
    fixed = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return fixed - {"self"}, ends[0] if ends else ""


def _taken_before_super(init: Any, rest: str) -> set[str] | None:
    """Return the keys that a constructor reads from its ``**kwargs`` before a base gets them.

    Args:
        init: Constructor.
        rest: Name of its ``**kwargs``.

    Returns:
        The keys; None if it does anything else with them.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == rest]
    understood: set[int] = set()
    taken: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "__init__":
                understood |= {id(k.value) for k in node.keywords if k.arg is None}
            elif node.func.attr in ("get", "pop") and node.args:
                _note(node.func.value, node.args[0], rest, understood, taken)
        elif isinstance(node, ast.Subscript):
            _note(node.value, node.slice, rest, understood, taken)
    return taken if all(id(use) in understood for use in uses) else None


def _note(value: ast.expr, key: ast.expr, rest: str, understood: set[int], taken: set[str]) -> None:
    if isinstance(value, ast.Name) and value.id == rest and isinstance(key, ast.Constant):
        understood.add(id(value))
        taken.add(str(key.value))
