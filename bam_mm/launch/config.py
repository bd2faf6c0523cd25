"""Loading a config with options from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.errors import InputError


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
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
    before = {name: _plain(config[name]) for name in variables}
    config.merge_from_dict(options)
    for name in sorted(variables):
        after = _plain(config[name])
        if after != before[name]:
            _replace(config._cfg_dict, name, before[name], after, top=True)
            if name == "data_root" and before[name]:
                _move_paths(config._cfg_dict, before[name].rstrip("/"), str(after).rstrip("/"))
    return config


def _replace(node: Any, name: str, old: Any, new: Any, *, top: bool = False) -> None:
    if isinstance(node, dict):
        for key in list(node):
            value = node[key]
            if key == name and not top and _plain(value) == old:
                node[key] = _in_the_kind_of(value, new)
            else:
                _replace(value, name, old, new)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _replace(value, name, old, new)


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
    # mmseg's RandomCrop takes a pair, and no list for one.
    return tuple(new) if isinstance(value, tuple) and isinstance(new, list) else new


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
