"""Naming schemes of the tensors of an architecture, and the translation between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

WRAPPER = "timm_model."
"""Prefix of timm's model, with timm's names, in ``TIMMBackbone`` of mmpretrain."""

COUNTER = "num_batches_tracked"
"""Name of the batch counter of BatchNorm, which older checkpoints lack and evaluation ignores."""

INDEX = "relative_position_index"
"""Name of the index that maps pairs of patches to their bias. It follows from the grid and is not a
weight."""


@dataclass(frozen=True)
class KeyMap:
    """An invertible table of the names of one architecture.

    Args:
        family: Name of the architecture family in messages.
        rules: Pairs of timm's and mmpretrain's name. ``*`` stands for a number, and a dot at the
            end for one more word, as in ``("blocks.*.norm1.", "layers.*.ln1.")``. Both are kept in
            the translation.
        timm_mark: Regular expression of the names by which timm's models of this family are
            recognised.
        mmpretrain_mark: Regular expression of the names by which mmpretrain's models of this family
            are recognised; None if mmpretrain uses timm's names.
        native: Whether mmpretrain has a class for this architecture. Otherwise it uses timm's model
            in ``TIMMBackbone``.
        timm_only: Names of timm's models that mmpretrain's class does not have.
    """

    family: str
    rules: tuple[tuple[str, str], ...]
    timm_mark: str
    mmpretrain_mark: str | None = None
    native: bool = True
    timm_only: tuple[str, ...] = ()

    def to_mmpretrain(self, name: str) -> str | None:
        """Translate timm's name to mmpretrain's; None if no rule covers it."""
        return _apply(self._forward, name)

    def to_timm(self, name: str) -> str | None:
        """Translate mmpretrain's name to timm's; None if no rule covers it."""
        return _apply(self._backward, name)

    def covers(self, name: str) -> bool:
        """Return whether timm's name is one of this architecture."""
        return name in self.timm_only or self.to_mmpretrain(name) is not None

    @cached_property
    def _forward(self) -> list[tuple[re.Pattern, str]]:
        return [(_pattern(a), _template(b)) for a, b in self.rules]

    @cached_property
    def _backward(self) -> list[tuple[re.Pattern, str]]:
        return [(_pattern(b), _template(a)) for a, b in self.rules]


@dataclass(frozen=True)
class Names:
    """The naming scheme of a set of keys.

    Attributes:
        keymap: Table of the architecture; None if no table knows it.
        side: ``timm`` or ``mmpretrain``, whose names the keys have.
        wrapped: Whether all keys start with ``timm_model.``.
    """

    keymap: KeyMap | None
    side: str
    wrapped: bool = False

    def __str__(self) -> str:
        if self.keymap is None:
            return f"names of no table{f', under {WRAPPER}*' if self.wrapped else ''}"
        return f"{self.keymap.family}, {self.side}'s names{' in TIMMBackbone' * self.wrapped}"

    def to_timm(self, name: str) -> str | None:
        """Translate a name of this scheme to timm's; None if no rule covers it.

        Without a table, names are not translated.
        """
        if self.wrapped:
            if not name.startswith(WRAPPER):
                return None
            name = name.removeprefix(WRAPPER)
        if self.keymap is None:
            return name
        if self.side == "mmpretrain":
            return self.keymap.to_timm(name)
        return name if self.keymap.covers(name) else None

    def from_timm(self, name: str) -> str | None:
        """Translate timm's name to this scheme, the inverse of :meth:`to_timm`."""
        result: str | None = name
        if self.keymap is not None and self.side == "mmpretrain":
            result = self.keymap.to_mmpretrain(name)
        elif self.keymap is not None and not self.keymap.covers(name):
            result = None
        return result if result is None or not self.wrapped else WRAPPER + result


def _apply(table: list[tuple[re.Pattern, str]], name: str) -> str | None:
    for pattern, template in table:
        found = pattern.fullmatch(name)
        if found:
            return template.format(*found.groups())
    return None


def _pattern(name: str) -> re.Pattern:
    escaped = re.escape(name).replace(r"\*", r"(\d+)")
    return re.compile(escaped + (r"(\w+)" if name.endswith(".") else ""))


def _template(name: str) -> str:
    return name.replace("*", "{}") + ("{}" if name.endswith(".") else "")


def bare(name: str) -> str:
    """Return the name of a tensor without the word of mmpretrain's wrapper of timm's models."""
    return name.removeprefix(WRAPPER)
