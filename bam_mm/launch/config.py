"""Loading a config with options from the command line, and walking through its entries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.errors import InputError


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config and merge options into it, so that a variable reaches every place it is used.

    A config's variables are copied where they are used when the file is read; overriding
    ``data_root`` alone would then change nothing. Here an option on a top-level variable replaces
    every entry *of the same name* that still holds the variable's value: ``--cfg-options
    data_root=~/photos`` moves all data sets of the config, ``layout.num_local=6`` reaches pipeline,
    preprocessor and model. Paths below the old ``data_root``, such as the annotation file of
    mmdet's metric, move with it.

    Args:
        path: The config file.
        options: Dotted keys and values, as mmengine's ``DictAction`` parses them.

    Returns:
        The merged config.

    Raises:
        InputError: If the file does not exist.
    """
    if not Path(path).is_file():
        raise InputError(f"config {path} does not exist: see the list in configs/")
    config = Config.fromfile(str(path))
    if not options:
        return config
    variables = {key.split(".", 1)[0] for key in options} & set(config.keys())
    before = {name: plain(config[name]) for name in variables}
    config.merge_from_dict(dict(options))
    for name in sorted(variables):
        old, new = before[name], plain(config[name])
        if new == old:
            continue
        replace(
            config._cfg_dict,
            [name],
            lambda value, old=old, new=new: (
                _in_the_kind_of(value, new) if plain(value) == old else value
            ),
        )
        if name == "data_root" and old:
            _move_paths(config._cfg_dict, old.rstrip("/"), str(new).rstrip("/"))
    return config


def import_custom_modules(config: Mapping[str, Any]) -> None:
    """Import the modules that a config names in ``custom_imports``."""
    for module in (config.get("custom_imports") or {}).get("imports", []):
        import_module(module)


def plain(value: Any, *, without: Collection[str] = ()) -> Any:
    """Return a config's value as dicts and lists that JSON could hold.

    Args:
        value: Any value of a config.
        without: Keys to leave out at every depth.

    Returns:
        Equal for equal values, whether they were tuples or lists, ``ConfigDict`` or ``dict``.
        Values of other types are kept as they are.
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
    """Change every entry of some names in a config, at any depth, in place.

    Args:
        node: Dict, list or tuple of a config.
        names: Keys of the entries.
        change: Returns the new value of an entry; the same object leaves the entry as it is.

    Returns:
        Number of entries that were changed.
    """
    if not isinstance(node, (dict, list, tuple)):
        return 0
    changed = 0
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        new = change(value) if isinstance(node, dict) and key in names else value
        if new is value:
            changed += replace(value, names, change)
        else:
            node[key] = new
            changed += 1
    return changed


def _move_paths(node: Any, old: str, new: str) -> None:
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(entries):
        if isinstance(value, str) and value.startswith(f"{old}/"):
            if isinstance(node, (dict, list)):
                node[key] = new + value[len(old) :]
        elif isinstance(value, (dict, list, tuple)):
            _move_paths(value, old, new)


def _in_the_kind_of(value: Any, new: Any) -> Any:
    if isinstance(new, dict):
        return ConfigDict(new)
    # mmseg's RandomCrop requires a tuple.
    return tuple(new) if isinstance(value, tuple) and isinstance(new, list) else new
