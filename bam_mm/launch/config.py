"""Loading configs with options from the command line, and editing their entries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.launch.paths import find_config


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config and merge options into it, also where the config uses a changed variable.

    mmengine copies the variables of a config to where they are used when it reads the file, so
    overriding ``data_root`` afterwards would change nothing. Here, an option for a top-level
    variable replaces every entry *of the same name* that still has the variable's value:
    ``--cfg-options data_root=~/photos`` changes all data sets of the config, and
    ``layout.num_local=6`` changes pipeline, preprocessor and model. Paths below the old
    ``data_root``, such as the annotation file of mmdet's metric, change with it.

    Args:
        path: Config file, or a name in the package, see :func:`~bam_mm.launch.paths.find_config`.
        options: Values by dotted key, as mmengine's ``DictAction`` parses them.

    Returns:
        The merged config.

    Raises:
        InputError: If the file does not exist.
    """
    config = Config.fromfile(str(find_config(path)))
    if not options:
        return config
    variables = {key.split(".", 1)[0] for key in options} & set(config.keys())
    before = {name: plain(config[name]) for name in variables}
    config.merge_from_dict(dict(options))
    for name in sorted(variables):
        old, new = before[name], plain(config[name])
        if new == old:
            continue
        replace(config._cfg_dict, [name], partial(_replace_value, old=old, new=new))
        if name == "data_root" and old:
            _move_paths(config._cfg_dict, old.rstrip("/"), str(new).rstrip("/"))
    return config


def import_custom_modules(config: Mapping[str, Any]) -> None:
    """Import the modules that a config names in ``custom_imports``."""
    for module in (config.get("custom_imports") or {}).get("imports", []):
        import_module(module)


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


def _move_paths(node: Any, old: str, new: str) -> None:
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(entries):
        if isinstance(value, str) and value.startswith(f"{old}/"):
            if isinstance(node, (dict, list)):
                node[key] = new + value[len(old) :]
        elif isinstance(value, (dict, list, tuple)):
            _move_paths(value, old, new)


def _replace_value(value: Any, *, old: Any, new: Any) -> Any:
    """Return ``new`` with the type of ``value`` if that equals ``old``, else ``value`` itself."""
    if plain(value) != old:
        return value
    if isinstance(new, dict):
        return ConfigDict(new)
    # mmseg's RandomCrop requires a tuple.
    return tuple(new) if isinstance(value, tuple) and isinstance(new, list) else new
