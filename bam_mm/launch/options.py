"""Options of the command line: each must fit the config, or it is an error.

mmengine adds an unknown key to the config, where nothing reads it: a misspelt option would change
nothing, silently.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.errors import InputError, UnusedOptionError, listing
from bam_mm.launch.accepted import (
    ALWAYS,
    FIXED,
    HOOK_NAMES,
    RUNNER_KEYS,
    accepted,
    classes_of,
)
from bam_mm.launch.entries import places_of, put
from bam_mm.launch.option_text import FLAG, OptionText, read_value
from bam_mm.variables.entries import look_up, name_of, walk

_GROW = frozenset(
    {*FIXED, "default_hooks", "strategy", "model_wrapper_cfg", "preprocessing", "visualizer"}
)
"""Entries that an option may create by one of their keys, as in ``randomness.seed=1``."""


def read_options(config: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options against a config and interpret their texts.

    A key must exist in the config, or be an argument of the class of the dict that it is added to.
    A leading ``+`` adds any other key.

    Args:
        config: The config, unchanged by this function.
        options: Values by dotted key. An :class:`~bam_mm.launch.option_text.OptionText` is
            interpreted by the value that it replaces.

    Returns:
        Values by dotted key without ``+``; an entry that changes others (``_delete_``, ``type``)
        comes before them.

    Raises:
        InputError: If a key fits nothing, or a value does not fit its key.
    """
    tree = copy.deepcopy(config)
    values: dict[str, Any] = {}
    for given in sorted(options, key=_rank):
        key, added = given.removeprefix("+"), given.startswith("+")
        value = options[given]
        _check_key(tree, key, f"{FLAG} {given}={value}", options, added=added)
        present, found = look_up(tree, key)
        if isinstance(value, OptionText):
            value = read_value(value, key, present)
        if found:
            value = _fitting(tree, key, value, present)
        elif not added:
            _check_default(tree, key, value)
        values[key] = value
        put(tree, key, value)
    return values


def nearest(name: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are most similar to an unknown one, the nearest first.

    Args:
        name: Unknown name.
        known: Names to choose from.
        most: Maximum number of names.
        cutoff: Least similarity, from 0 to 1, as :mod:`difflib` computes it.

    Returns:
        The names that are about as similar as the nearest.
    """
    lower = {each.lower(): each for each in sorted({*known})}
    close = difflib.get_close_matches(name.lower(), lower, n=most, cutoff=cutoff)
    scores = [difflib.SequenceMatcher(None, each, name.lower()).ratio() for each in close]
    return [lower[c] for c, score in zip(close, scores, strict=True) if score > scores[0] - 0.12]


def _rank(key: str) -> tuple[int, int]:
    last = key.rpartition(".")[2]
    return ("_delete_", "type").index(last) if last in ("_delete_", "type") else 2, key.count(".")


def _check_key(
    tree: Config, key: str, shown: str, options: Mapping[str, Any], *, added: bool
) -> None:
    parts = key.split(".")
    if not all(parts):
        raise InputError(f"{shown}: a key is names joined by single dots, as in a.b=1")
    node: Any = tree._cfg_dict
    for place, part in enumerate(parts):
        path = tuple(parts[:place])
        if isinstance(node, Mapping):
            if part in node:
                node = node[part]
                continue
            if not added:
                _check_new(node, path, parts[place:], shown, options, tree)
            return
        if node is None and path:
            if not added:
                _check_new(ConfigDict(), path, parts[place:], shown, options, tree)
            return
        node = _entry(node, part, ".".join(path), shown)


def _entry(node: Any, part: str, where: str, shown: str) -> Any:
    """Return an entry of a list; other values have none."""
    if isinstance(node, list):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        numbers = {0: "no entry", 1: "the entry 0"}
        has = numbers.get(len(node), f"the entries 0 to {len(node) - 1}")
        raise InputError(
            f"{shown}: {where} is a list with {has}, which {part!r} is not; "
            f"choose another, or set the whole list with {where}=..."
        )
    if isinstance(node, tuple):
        raise InputError(
            f"{shown}: {where} is the tuple {node!r}, whose entries cannot be set one by "
            f"one; set it as a whole with {where}=..."
        )
    raise InputError(
        f"{shown}: {where} is {node!r}, which has no settings below it; set {where} itself"
    )


def _check_new(
    node: Mapping[str, Any],
    path: tuple[str, ...],
    rest: Sequence[str],
    shown: str,
    options: Mapping[str, Any],
    tree: Config,
) -> None:
    name, key, where = rest[0], ".".join((*path, *rest)), ".".join(path)
    if path[-1:] == ("default_hooks",) and (
        f"{where}.{name}.type" in options or (len(rest) == 1 and name in HOOK_NAMES)
    ):
        return
    known = accepted(node, path, tree.get("default_scope"))
    if known is None:
        return
    if name in known and (path or len(rest) == 1 or name in _GROW):
        if name in FIXED and len(rest) > 1:
            _check_new(ConfigDict(), (*path, name), rest[1:], shown, options, tree)
        return
    place = f"{where} ({node['type']})" if isinstance(node.get("type"), str) else where or "the top"
    if not path and name in known:
        raise UnusedOptionError(
            f"{shown}: {name_of(tree)} has no {name}, so nothing uses this setting; "
            "leave it out, or use a config of a task that has it"
        )
    close = nearest(name, {*node, *(known - ALWAYS)} - {"_scope_"})
    close = [f"{where}.{each}" if where else each for each in close]
    close += _used(tree, name) if close else _similar(tree, name)
    remedy = f"did you mean {' or '.join(close[:3])}? " if close else ""
    raise UnusedOptionError(
        f"{shown}: {name!r} is no setting at {place} of {name_of(tree)}; {remedy}"
        f"+{key}=... adds it on purpose"
    )


def _similar(tree: Config, name: str) -> list[str]:
    """Return the keys at any depth that end with a name, or else with the most similar one."""
    if found := _used(tree, name):
        return found
    names = {key.rpartition(".")[2] for key, _ in walk(tree)} - ALWAYS
    names = {each for each in names if not each.isdigit()}
    return [key for each in nearest(name, names, most=1, cutoff=0.8) for key in _used(tree, each)]


def _used(tree: Config, name: str) -> list[str]:
    return [key for key in places_of(tree, name) if key.split(".")[0] in RUNNER_KEYS]


def _fitting(tree: Config, key: str, value: Any, present: Any) -> Any:
    """Return the value for a setting that the config has, if their types go together."""
    where = f"{FLAG} {key}={value!r}"
    dicts = isinstance(present, (list, tuple)) and any(isinstance(p, Mapping) for p in present)
    if (isinstance(present, Mapping) and present) or dicts:
        compound = isinstance(value, (Mapping, list, tuple)) or value is None
        nested = "." in key and not dicts and "type" not in present
        if not compound and not nested and key != "preprocessing":  # a word for all its settings
            names = present if isinstance(present, Mapping) else range(len(present))
            raise InputError(
                f"{where}: {key} is a group of settings; set one of them, {key}.NAME with NAME one "
                f"of {listing(names, 8)}, or None to switch it off"
            )
        return value
    if isinstance(present, bool):
        if isinstance(value, str) and not _takes_text(tree, key):
            raise InputError(f"{where}: {key} is a switch; write True or False")
        return value
    if isinstance(present, (int, float)):
        if isinstance(value, (str, bool)) and not _takes_text(tree, key):
            raise InputError(f"{where}: {key} is a number, {present!r} in the config; write one")
        if isinstance(present, int) and isinstance(value, float) and value.is_integer():
            return int(value)  # 1e2 epochs
    return value


def _check_default(tree: Config, key: str, value: Any) -> None:
    """Check a value that the config does not have by the default of the argument."""
    parameter = _parameter(tree, key)
    if parameter is None or not isinstance(value, str) or "str" in str(parameter.annotation):
        return
    default = parameter.default
    if isinstance(default, bool):  # Any text would be true, also 'no'.
        raise InputError(f"{FLAG} {key}={value!r}: {key} is a switch; write True or False")
    if isinstance(default, (int, float)):
        raise InputError(f"{FLAG} {key}={value!r}: {key} is a number, by default {default!r}")


def _takes_text(tree: Config, key: str) -> bool:
    """Return whether an argument is annotated to be a text too."""
    parameter = _parameter(tree, key)
    if parameter is None:
        return False
    text = f"{parameter.annotation} {type(parameter.default).__name__}"
    return "str" in text or parameter.annotation is parameter.empty


def _parameter(tree: Config, key: str) -> inspect.Parameter | None:
    """Return the argument that a key is, of the class at its place in the config."""
    parent, _, name = key.rpartition(".")
    node, found = look_up(tree, parent) if parent else (None, False)
    if not found or not isinstance(node, Mapping) or node.get("type") is None:
        return None
    for kind in classes_of(node["type"], tree.get("default_scope"), parent):
        for base in inspect.getmro(kind) if inspect.isclass(kind) else (kind,):
            try:
                parameter = inspect.signature(base).parameters.get(name)
            except (TypeError, ValueError):
                continue
            if parameter is not None:
                return parameter
    return None
