"""Setting, finding and replacing entries of a config by dotted key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.variables.entries import walk


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
