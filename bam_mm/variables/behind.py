"""Entries that are behind a variable: they keep its former value.

mmengine copies the value of a variable to where a file uses it, when it reads that file. A variable
that is set anew afterwards, in a config that inherits the file or by an option of a tool, has one
value while the entries have another. Here these entries are found: each file is compared with its
bases, and the run's config with its file.

A config may keep a former value on purpose, such as a validation on the base's data. So what
becomes of an entry that is behind depends on the others that use the variable. They have *changed*,
or the config *states* their former values itself. Parts of a run are training, validation and test;
``model`` belongs to all of them.

==========================  ==========  ==================  =======================  ============
entry that is behind        no change,  no change,          change in the same part  change in
                            none is     former values are                            other parts
                            stated      stated                                       alone
==========================  ==========  ==================  =======================  ============
of the variable's own name  stop        stop                stop                     warning
copy under another name     stop        warning             warning                  warning
computed from it            stop        in a warning        in a warning             in a warning
==========================  ==========  ==================  =======================  ============

Paths of data below a former ``data_root`` count as entries of its name. Entries that are computed
are named in the warning of others, and cause none by themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.errors import listing
from bam_mm.variables.entries import (
    DOCUMENTED,
    FOLDER,
    RUNNER_KEYS,
    kind_of,
    look_up,
    name_of,
    plain,
    walk,
)
from bam_mm.variables.uses import assigned_names, bases_of, config_files, parsed, sets, uses_of

_TRAINING = ("train_", "optim_wrapper", "param_scheduler", "auto_scale_lr", "default_hooks")
_PARTS = {
    "train": (*_TRAINING, "custom_hooks"),
    "val": ("val_",),
    "test": ("test_",),
}
"""Entries at the top that only one part of a run reads, by their beginnings."""

_OUTPUTS = ("cache_dir", "out_dir", "output_dir", "outfile_prefix", "checkpoint")
"""Keys whose paths are no data, wherever they are."""

_NAMED, _COPY, _COMPUTED = "named", "copy", "computed"

Entry = tuple[str, Any]


@dataclass(frozen=True)
class Behind:
    """A variable and the entries that keep a former value of it.

    Attributes:
        name: Name of the variable.
        value: Its value in the config.
        file: File that sets it; None if an option of a tool does.
        decisive: Keys and values of entries that make the config wrong.
        others: Those of entries that may be behind on purpose.
        mixed: Whether these include entries of the variable's own name.
        changed: Keys of entries that have changed with the variable.
    """

    name: str
    value: Any
    file: Path | None
    decisive: tuple[Entry, ...]
    others: tuple[Entry, ...]
    mixed: bool
    changed: tuple[str, ...]

    def message(self, config: Mapping[str, Any]) -> str:
        """Return one message with the variable, the entries and what to write.

        Args:
            config: The config, whose file is named if an option has set the variable.
        """
        entries = [f"{key} (still {_short(value)})" for key, value in self.decisive + self.others]
        remedy = f"set {listing(entries, 4)} too"
        meant = ""
        if self.changed:
            remedy += f", like {listing(list(self.changed), 2)}"
            meant = ", or state the old value there if it is meant"
        setting = f"{self.name} = {_short(self.value)}"
        effect = "does not reach all its entries" if self.changed else "changes nothing"
        if self.file is None:
            return (
                f"{setting} {effect}, because it was set after {name_of(config)} had been read: "
                f"{remedy}, or run bam-mm (tools/train.py, tools/test.py), whose "
                f"--cfg-options {self.name}=... reaches them"
            )
        own = "" if self.name in DOCUMENTED else ". Rename it if it is a variable of your own"
        return (
            f"config {self.file}: {setting} {effect}, because its base has used {self.name} "
            f"already; {remedy}{meant}{own}"
        )


def behind_in_files(
    config: Config, path: str | Path, *, parts: Collection[str] = tuple(_PARTS)
) -> list[Behind]:
    """Find the entries of a config that are behind a variable that one of its files sets anew.

    An entry that the file sets itself is not behind, whatever its value.

    Args:
        config: Config, read from the file and possibly changed since.
        path: Its file.
        parts: Parts of the run, of ``train``, ``val`` and ``test``, whose entries are compared.

    Returns:
        One item for each variable, the file itself before its bases. Configs of pure Python
        (``with read_base()``) have none.
    """
    found: dict[str, Behind] = {}
    files = config_files(path)
    trees = parsed(files)
    above: list[ast.Module] = []
    for file in files:
        bases = bases_of(file) if file.suffix == ".py" else []
        above += parsed([file])
        if not bases:
            continue
        own = _variables(assigned_names(above[-1])) - found.keys()
        below = parsed([f for base in bases for f in config_files(base)])
        own &= {name for each in below for name in assigned_names(each)}
        own = {name for name in own if not _in_step(config, name, trees)}
        if not own:
            continue
        before = _merged(bases)
        for name in sorted(own & before.keys()):
            each = _compare(config, before, name, trees, parts, file=file, above=above)
            if each is not None:
                found[name] = each
    return list(found.values())


def behind_options(
    config: Config, path: str | Path, *, parts: Collection[str] = tuple(_PARTS)
) -> list[Behind]:
    """Find the entries of a config that are behind a variable that was set after reading its file.

    Tools other than this package's merge an option into the config and leave it at that.

    Args:
        config: Config of a run.
        path: File that it was read from.
        parts: Parts of the run whose entries are compared.

    Returns:
        One item for each variable.
    """
    before = Config.fromfile(str(path), import_custom_modules=False)
    changed = [
        name
        for name in sorted(_variables(before.keys()))
        if name in config and plain(config[name]) != plain(before[name])
    ]
    trees = parsed(config_files(path)) if changed else []
    found = (_compare(config, before, name, trees, parts) for name in changed)
    return [each for each in found if each is not None]


def _variables(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_") and name not in RUNNER_KEYS}


def _in_step(config: Config, name: str, trees: Sequence[ast.Module]) -> bool:
    """Return whether it is plain without the bases that every entry has the variable's value."""
    new = plain(config.get(name))
    keys = [use.key for use in uses_of(name, trees) if use.copied]
    values = [plain(value) for value, there in (look_up(config, key) for key in keys) if there]
    named = [v for key, v in walk(config) if "." in key and key.rpartition(".")[2] == name]
    # Paths below a folder do not show that they belong to it.
    return bool(values) and name != FOLDER and all(v == new for v in values + named)


def _merged(bases: Sequence[Path]) -> dict[str, Any]:
    # mmengine refuses a key that two bases set.
    merged: dict[str, Any] = {}
    for base in bases:
        merged.update(Config.fromfile(str(base), import_custom_modules=False).items())
    return merged


def _compare(
    config: Config,
    before: Mapping[str, Any],
    name: str,
    trees: Sequence[ast.Module],
    parts: Collection[str],
    *,
    file: Path | None = None,
    above: Sequence[ast.Module] = (),
) -> Behind | None:
    """Compare the entries that use a variable with those of an earlier state of the config."""
    if plain(before[name]) == plain(config.get(name)):
        return None
    behind: list[tuple[str, str]] = []
    changed: list[str] = []
    stated = False
    for key, use in _uses(before, name, trees):
        value, there = look_up(config, key)
        if not there:
            continue
        if plain(value) != plain(look_up(before, key)[0]):
            changed.append(key)
        elif any(sets(tree, key) for tree in above):
            stated = True
        elif use != _COPY or plain(value) == plain(before[name]):
            behind.append((key, use))

    read = [(key, use) for key, use in behind if _parts_of(key) & {*parts}]
    wrong = [(key, use) for key, use in read if _is_wrong(key, use, changed, stated=stated)]
    other = [each for each in read if each not in wrong]
    if not wrong and all(use == _COMPUTED for _, use in other):
        return None
    return Behind(
        name,
        config.get(name),
        file,
        decisive=tuple((key, look_up(config, key)[0]) for key, _ in wrong),
        others=tuple((key, look_up(config, key)[0]) for key, _ in other),
        mixed=any(use == _NAMED for _, use in other),
        changed=tuple(changed),
    )


def _is_wrong(key: str, use: str, changed: Sequence[str], *, stated: bool) -> bool:
    """Return whether an entry that is behind stops a run: the table of this module."""
    if use == _NAMED:
        return not changed or any(_parts_of(key) & _parts_of(other) for other in changed)
    return not changed and not stated


def _uses(
    before: Mapping[str, Any], name: str, trees: Sequence[ast.Module]
) -> Iterator[tuple[str, str]]:
    """Yield the keys of entries that use a variable, and how."""
    old = plain(before[name])
    seen = set()
    for key, value in walk(before):
        # Also where no text tells: in copied parts, as in `test_dataloader = val_dataloader`.
        named = "." in key and key.rpartition(".")[2] == name and plain(value) == old
        below = name == FOLDER and _is_data(key) and _below(value, old)
        if (named or below) and _is_an_entry(before, key):
            seen.add(key)
            yield key, _NAMED
    for use in uses_of(name, trees):
        if use.key not in seen and _is_an_entry(before, use.key):
            yield use.key, _COPY if use.copied else _COMPUTED


def _is_data(key: str) -> bool:
    """Return whether a path at a key is one of the data, not of weights or results."""
    head, last = key.split(".")[0], key.rpartition(".")[2]
    loaded = head.endswith(("_dataloader", "_evaluator")) or head in ("train_cfg", "test_cfg")
    return loaded and last not in _OUTPUTS


def _below(value: Any, folder: Any) -> bool:
    """Return whether a value is a path below a former folder."""
    if not isinstance(value, str) or not isinstance(folder, str) or not folder:
        return False
    return value.startswith(f"{folder.rstrip('/')}/") and value != folder


def _is_an_entry(before: Mapping[str, Any], key: str) -> bool:
    """Return whether a part of a run reads a key of the config, and from there."""
    head, above = key.split(".")[0], key.rpartition(".")[0]
    if head not in RUNNER_KEYS or head.startswith("tta_") or not look_up(before, key)[1]:
        return False
    # This hook reads the variables from the run's config.
    return not above or kind_of(look_up(before, above)[0]) != "LoadBackboneHook"


def _parts_of(key: str) -> set[str]:
    """Return the parts of a run that read an entry."""
    head = key.split(".")[0]
    return {part for part, heads in _PARTS.items() if head.startswith(heads)} or {*_PARTS}


def _short(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
