"""Loading configs with options from the command line, and editing their entries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.launch.config_file import read_config
from bam_mm.launch.entries import put, replace
from bam_mm.launch.options import read_options
from bam_mm.launch.paths import find_config
from bam_mm.launch.reach import reach_uses
from bam_mm.variables.entries import FOLDER, RUNNER_KEYS, plain


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config and merge options into it, also where the config uses a changed variable.

    mmengine copies the variables of a config to where they are used when it reads the file, so
    overriding ``data_root`` afterwards would change nothing. Here, an option for a top-level
    variable replaces every entry *of the same name* that still has the variable's value:
    ``--cfg-options data_root=~/photos`` changes all data sets of the config, and
    ``layout.num_local=6`` changes pipeline, preprocessor and model. Paths below the old
    ``data_root``, such as the annotation file of mmdet's metric, change with it.

    A variable whose entries have other names reaches those too if all of them are copies of it.
    Otherwise, an option that would change nothing is an error.

    Args:
        path: Config file, or a name in the package, see :func:`~bam_mm.launch.paths.find_config`.
        options: Values by dotted key; texts of the command line are interpreted, see
            :func:`~bam_mm.launch.options.read_options`. A leading ``+`` adds a key that the config
            does not have.

    Returns:
        The merged config.

    Raises:
        InputError: If the file cannot be read as a config, or if an option does not fit it.
    """
    file = find_config(path)
    config = read_config(file)
    if not options:
        return config
    import_custom_modules(config)
    forced = {key.removeprefix("+") for key in options if key.startswith("+")}
    values = read_options(config, options)
    for key, value in values.items():
        _apply(config, file, key, value, others=values, forced=key in forced)
    return config


def _apply(
    config: Config, file: Path, key: str, value: Any, *, others: Collection[str], forced: bool
) -> None:
    """Set an entry of a config, and every entry that has the value of this variable, in place."""
    name = key.split(".", 1)[0]
    known, old = name in config, plain(config.get(name))
    put(config, key, value)
    if not known:
        return
    new = plain(config[name])
    reached = 0

    def change(entry: Any) -> Any:
        nonlocal reached
        reached += plain(entry) == old
        return _replace_value(entry, old=old, new=new)

    for other, node in config.items():
        if other != name:
            replace(node, [name], change)
    if name == FOLDER and old and new != old:
        _move_paths(config._cfg_dict, old.rstrip("/"), str(new).rstrip("/"))
    if name not in RUNNER_KEYS and not forced:
        reach_uses(config, file, key, old=old, reached=reached, others=others)


def import_custom_modules(config: Mapping[str, Any]) -> None:
    """Import the modules that a config names in ``custom_imports``."""
    for module in (config.get("custom_imports") or {}).get("imports", []):
        import_module(module)


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
