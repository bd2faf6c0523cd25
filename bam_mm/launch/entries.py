"""Entries of a config by dotted key: reading, setting, finding and replacing them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict


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


def put(config: Config, key: str, value: Any) -> None:
    """Set a dotted key in place; dicts are merged, and a missing or None parent becomes a dict."""
    node: Any = config._cfg_dict
    for part in key.split(".")[:-1]:
        place: Any = int(part) if isinstance(node, list) else part
        child = node[place] if isinstance(node, list) else node.get(place)
        if child is None:
            child = node[place] = ConfigDict()
        node = child
    config.merge_from_dict({key: value})


def places_of(config: Mapping[str, Any], name: str) -> list[str]:
    """Return the dotted keys of a config whose last part is a name, at any depth."""
    return [path for path, _ in walk(config) if path.rpartition(".")[2] == name]


def walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every entry of a config, outer ones first."""
    for key, value in node.items() if isinstance(node, (Mapping, Config)) else enumerate(node):
        path = f"{prefix}.{key}" if prefix else str(key)
        yield path, value
        if isinstance(value, (Mapping, list, tuple)):
            yield from walk(value, path)


def replace(node: Any, names: Collection[str], change: Callable[[Any], Any]) -> int:
    """Replace the entries with given keys in a config, at any depth and in place.

    Args:
        node: Dict, list or tuple of a config.
        names: Keys of the entries to replace.
        change: Function that returns the new value of an entry, or the same object to keep it.

    Returns:
        Number of replaced entries.
    """
    if not isinstance(node, (dict, list, tuple)):
        return 0
    changed = 0
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        new = change(value) if isinstance(node, dict) and key in names else value
        if isinstance(node, dict) and new is not value:
            node[key] = new
            changed += 1
        else:
            changed += replace(value, names, change)
    return changed


def name_of(config: Config) -> str:
    """Return the file of a config for messages."""
    return config.filename or "the config"
