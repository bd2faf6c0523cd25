"""Options for variables: they reach the entries that use the variable, or are an error."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from bam_mm.errors import InputError, UnusedOptionError, listing
from bam_mm.launch.entries import places_of
from bam_mm.launch.option_text import FLAG
from bam_mm.variables.entries import (
    FOLDER,
    LOADS,
    READ_AT_THE_START,
    RUNNER_KEYS,
    lacking_hook,
    loading_hooks,
    look_up,
    name_of,
    plain,
)
from bam_mm.variables.uses import config_files, is_literal, parsed, uses_of


def reach_uses(
    config: Config, file: Path, key: str, *, old: Any, reached: int, others: Collection[str]
) -> None:
    """Bring the new value of a variable to the entries that use it under other names.

    If entries of the variable's own name have it already, the others keep theirs, and a warning
    names those that differ. Otherwise, all of them get it, provided that all of them are copies.

    Args:
        config: Config with the new value, changed in place.
        file: File that it was read from.
        key: Dotted key of the option.
        old: Former value of the variable.
        reached: Number of entries of the same name that have the new value.
        others: Keys of all options.

    Raises:
        UnusedOptionError: If the option would change nothing; the message names the entries to set.
        InputError: If the hook is missing that reads this variable.
    """
    name, _, below = key.partition(".")
    if name in READ_AT_THE_START and loading_hooks(config):
        return
    trees = parsed(config_files(file))
    uses = [
        use
        for use in uses_of(name, trees)
        if look_up(config, use.key)[1] and not _set_by(others, use.key, but=key)
    ]
    new = config[name]
    if reached:
        behind = [
            use.key
            for use in uses
            if not _is(config, use.key, new)
            and use.key.split(".")[-1] != name
            and not is_literal(trees, use.key)
        ]
        _log_behind(config, key, behind)
        return
    if uses and all(use.copied and _is(config, use.key, old) for use in uses):
        for use in uses:
            _set(config, use.key, _as(look_up(config, use.key)[0], new))
        return
    if name in READ_AT_THE_START and not uses:
        raise InputError(lacking_hook(config, "LoadBackboneHook", LOADS))
    value = look_up(config, key)[0]
    places = [use.key for use in uses] or places_of(config, name)
    places = [place for place in places if place.split(".")[0] in RUNNER_KEYS]
    if not places:
        raise UnusedOptionError(
            f"{FLAG} {key}={value!r}: nothing in {name_of(config)} uses {name}; leave it out, or "
            "set the entry that you mean"
        )
    where = [f"{place}.{below}" if below else place for place in dict.fromkeys(places)]
    where = [each for each in where if look_up(config, each)[1]] or where
    raise UnusedOptionError(
        f"{FLAG} {key}={value!r}: {name} is only a variable of {name_of(config)}, and no entry "
        f"takes its value as it is; set {listing(where, 6)}"
    )


def changed_by(config: Config, options: Iterable[str]) -> dict[str, str]:
    """Return the options by the keys that they change: their own, and the copies of variables.

    Args:
        config: Config with the options in it.
        options: Keys of the config that the command line has set.
    """
    changed = {key.removeprefix("+"): key.removeprefix("+") for key in options}
    variables = {key: key.partition(".")[0] for key in changed}
    variables = {key: name for key, name in variables.items() if name not in RUNNER_KEYS}
    if not variables or not config.filename or not Path(config.filename).is_file():
        return changed
    trees = parsed(config_files(config.filename))
    for option, name in variables.items():
        for use in uses_of(name, trees):
            value, there = look_up(config, use.key)
            if use.copied and there and plain(value) == plain(config.get(name)):
                changed.setdefault(use.key, option)
    return changed


def _is(config: Config, key: str, value: Any) -> bool:
    return plain(look_up(config, key)[0]) == plain(value)


def _set(config: Config, key: str, value: Any) -> None:
    """Replace an entry in place; a tuple around it is replaced by a new one."""
    above, _, last = key.rpartition(".")
    parent: Any = look_up(config, above)[0] if above else config
    if isinstance(parent, tuple):
        place = int(last)
        _set(config, above, (*parent[:place], value, *parent[place + 1 :]))
    else:
        parent[int(last) if isinstance(parent, list) else last] = value


def _as(present: Any, new: Any) -> Any:
    if isinstance(new, Mapping):
        return ConfigDict(copy.deepcopy(new))
    new = copy.deepcopy(new)
    return tuple(new) if isinstance(present, tuple) and isinstance(new, list) else new


def _set_by(others: Collection[str], key: str, *, but: str) -> bool:
    return any(key == other or key.startswith(f"{other}.") for other in others if other != but)


def _log_behind(config: Config, key: str, behind: list[str]) -> None:
    # data_root: paths below it move with it. The schedule of max_epochs is compared in training.
    if key == "max_epochs":
        behind = [each for each in behind if not each.startswith("param_scheduler.")]
    behind = [each for each in behind if not _is_group(look_up(config, each)[0])]
    if not behind or key == FOLDER:
        return
    values = [f"{each}={look_up(config, each)[0]!r}" for each in dict.fromkeys(behind)]
    _warn_once(
        f"{FLAG} {key}={look_up(config, key)[0]!r} does not change what the config computes from "
        f"it: {listing(values, 6)}; set these too, unless this is intended"
    )


def _is_group(value: Any) -> bool:
    # Entries of the variable's name inside have its value already.
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and any(isinstance(entry, Mapping) for entry in value)
    )


@cache
def _warn_once(message: str) -> None:
    # The processes of a run read the same config.
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print_log(message, logger="current", level=logging.WARNING)
