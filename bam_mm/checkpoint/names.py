"""The names that an architecture's tensors have in timm and in mmpretrain, and the way between."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

WRAPPER = "timm_model."
"""Under which mmpretrain's ``TIMMBackbone`` keeps timm's model, with timm's names."""


@dataclass(frozen=True)
class KeyMap:
    """An invertible table of names of one architecture.

    Args:
        family: Of architectures, for people.
        rules: Pairs (timm's name, mmpretrain's name). ``*`` stands for a number and a dot at the
            end for one further word, as in ``("blocks.*.norm1.", "layers.*.ln1.")``; both are
            carried over.
        timm_mark: Regular expression of a name that tells timm's names from other families'.
        mmpretrain_mark: The same for mmpretrain's.
        native: Whether mmpretrain has a class of its own; else it uses timm's in ``TIMMBackbone``.
    """

    family: str
    rules: tuple[tuple[str, str], ...]
    timm_mark: str
    mmpretrain_mark: str | None = None
    native: bool = True

    def to_mmpretrain(self, name: str) -> str | None:
        """The name that mmpretrain has for a name of timm's; None if no rule covers it."""
        return _apply(self._forward, name)

    def to_timm(self, name: str) -> str | None:
        """The name that timm has for a name of mmpretrain's; None if no rule covers it."""
        return _apply(self._backward, name)

    @cached_property
    def _forward(self) -> list[tuple[re.Pattern, str]]:
        return [(_pattern(a), _template(b)) for a, b in self.rules]

    @cached_property
    def _backward(self) -> list[tuple[re.Pattern, str]]:
        return [(_pattern(b), _template(a)) for a, b in self.rules]


@dataclass(frozen=True)
class Names:
    """Which names a set of keys has.

    Attributes:
        keymap: Of the architecture, None if no table knows it.
        side: ``timm`` or ``mmpretrain``.
        wrapped: Whether all keys have ``timm_model.`` before them.
    """

    keymap: KeyMap | None
    side: str
    wrapped: bool = False

    def __str__(self) -> str:
        if self.keymap is None:
            return f"names of no table{f', under {WRAPPER}*' if self.wrapped else ''}"
        return f"{self.keymap.family}, {self.side}'s names{' in TIMMBackbone' * self.wrapped}"

    def to_timm(self, name: str) -> str | None:
        """The name that timm has for such a key; without a table the key is taken as it is."""
        if self.wrapped:
            if not name.startswith(WRAPPER):
                return None
            name = name.removeprefix(WRAPPER)
        if self.keymap is None:
            return name
        if self.side == "mmpretrain":
            return self.keymap.to_timm(name)
        return name if self.keymap.to_mmpretrain(name) is not None else None

    def from_timm(self, name: str) -> str | None:
        """The inverse of :meth:`to_timm`."""
        if self.keymap is not None:
            other = self.keymap.to_mmpretrain(name)
            name = other if self.side == "mmpretrain" or other is None else name
        return name if name is None or not self.wrapped else WRAPPER + name


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
