"""Entries that are behind a variable: they keep its former value.

mmengine copies the value of a variable to where a file uses it, when it reads that file. A variable
that is set anew afterwards, in a config that inherits the file or by an option of a tool, has one
value while the entries have another. Here these entries are found: each file is compared with its
bases, and the run's config with its file.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.errors import listing
from bam_mm.variables.entries import RUNNER_KEYS, kind_of, look_up, name_of, plain, walk
from bam_mm.variables.uses import assigned_names, bases_of, config_files, parsed, sets, uses_of

_TRAINING = ("train_", "optim_wrapper", "param_scheduler", "auto_scale_lr", "default_hooks")
_PARTS = {
    "train": (*_TRAINING, "custom_hooks"),
    "val": ("val_",),
    "test": ("test_",),
}
"""Entries at the top that only one part of a run reads, by their beginnings."""

Entry = tuple[str, Any]


@dataclass(frozen=True)
class Behind:
    """A variable and the entries that keep a former value of it.

    Attributes:
        name: Name of the variable.
        value: Its value in the config.
        file: File that sets it; None if an option of a tool does.
        same: Keys and values of entries of the same name, and of paths below a former folder.
        copies: Those of copies under other names.
        computed: Those of entries that are computed from it.
        followed: Whether any entry has changed with the variable.
    """

    name: str
    value: Any
    file: Path | None
    same: tuple[Entry, ...]
    copies: tuple[Entry, ...]
    computed: tuple[Entry, ...]
    followed: bool

    @property
    def decisive(self) -> tuple[Entry, ...]:
        """Entries that make the config wrong.

        These are the ones of the variable's own name. Those under other names and the computed ones
        count if the variable changes nothing at all. Otherwise, a config may compute an entry from
        the base's variable on purpose, such as a warm-up.
        """
        return self.same + (() if self.followed else self.copies + self.computed)

    def message(self, config: Mapping[str, Any]) -> str:
        """Return one message with the variable, the entries and what to write.

        Args:
            config: The config, whose file is named if an option has set the variable.
        """
        entries = self.decisive or self.copies
        shown = listing([f"{key} (still {_short(value)})" for key, value in entries], 4)
        setting = f"{self.name} = {_short(self.value)}"
        effect = "does not reach all its entries" if self.followed else "changes nothing"
        if self.file is None:
            return (
                f"{setting} {effect}, because it was set after {name_of(config)} had been read: "
                f"set {shown} too, or run bam-mm (tools/train.py, tools/test.py), whose "
                f"--cfg-options {self.name}=... reaches them"
            )
        return (
            f"config {self.file}: {setting} {effect}, because its base has used {self.name} "
            f"already; set {shown} too, or pass --cfg-options {self.name}=... to bam-mm. Rename "
            "it if it is a variable of your own"
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
    return bool(values) and name != "data_root" and all(v == new for v in values + named)


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
    old, new = plain(before[name]), plain(config.get(name))
    if old == new:
        return None
    same: dict[str, Any] = {}
    copies: dict[str, Any] = {}
    computed: dict[str, Any] = {}
    followed = False
    for key, copied in _places(before, name, old, trees):
        value, there = look_up(config, key)
        former, known = look_up(before, key)
        if not there or not known or not _is_read(before, key, parts):
            continue
        if plain(value) != plain(former) or any(sets(tree, key) for tree in above):
            followed = True
        elif _below(former, old):
            same[key] = value
        elif not copied:
            computed[key] = value
        elif plain(former) == old:
            (same if key.rpartition(".")[2] == name else copies)[key] = value
    if not (same or copies or (computed and not followed)):
        return None
    return Behind(
        name,
        config.get(name),
        file,
        same=tuple(same.items()),
        copies=tuple(copies.items()),
        computed=tuple(computed.items()),
        followed=followed,
    )


def _places(
    before: Mapping[str, Any], name: str, old: Any, trees: Sequence[ast.Module]
) -> Iterator[tuple[str, bool]]:
    """Yield the keys of entries that may have a variable's value, and whether as a copy."""
    seen = set()
    for key, value in walk(before):
        # Also where no text tells: in copied parts, as in `test_dataloader = val_dataloader`.
        named = "." in key and key.rpartition(".")[2] == name and plain(value) == old
        if key.split(".")[0] in RUNNER_KEYS and (
            named or (name == "data_root" and _below(value, old))
        ):
            seen.add(key)
            yield key, True
    for use in uses_of(name, trees):
        if use.key not in seen:
            yield use.key, use.copied


def _below(value: Any, folder: Any) -> bool:
    """Return whether a value is a path below a former folder."""
    if not isinstance(value, str) or not isinstance(folder, str) or not folder:
        return False
    return value.startswith(f"{folder.rstrip('/')}/") and value != folder


def _is_read(before: Mapping[str, Any], key: str, parts: Collection[str]) -> bool:
    """Return whether a part of the run reads an entry, and from the entry itself."""
    head, above = key.split(".")[0], key.rpartition(".")[0]
    owners = [part for part, heads in _PARTS.items() if head.startswith(heads)]
    if head.startswith("tta_") or (owners and not any(part in parts for part in owners)):
        return False
    # This hook reads the variables from the run's config.
    return not above or kind_of(look_up(before, above)[0]) != "LoadBackboneHook"


def _short(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
