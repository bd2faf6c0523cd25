"""Matching the tensors of a file with those of a backbone, and proving that all of them match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bam_mm.checkpoint.architectures import recognise
from bam_mm.checkpoint.branches import Branch
from bam_mm.checkpoint.contents import without_wrappers
from bam_mm.checkpoint.hints import remedy
from bam_mm.checkpoint.names import COUNTER, INDEX, WRAPPER, Names, bare
from bam_mm.errors import InputError, listing

_CLASSIFIERS = re.compile(
    r"(head|heads|classifier|classif|last_linear|aux_head|attn_pool|fc)(_|\.)"
)
"""Names in timm of classifiers, and of the pooling that belongs to them."""


@dataclass(frozen=True)
class Match:
    """The names of a file's tensors in a backbone.

    Attributes:
        source: Tensors of the file.
        target: Naming scheme of the backbone.
        names: Name in the backbone of each name in the file, None where no rule covers a name.
        left_over: Names in the file of tensors that the backbone lacks.
        aside: Names in the file of heads and decoders.
    """

    source: Branch
    target: Names
    names: dict[str, str | None]
    left_over: list[str]
    aside: list[str]

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the file by their names in the backbone."""
        named = ((self.names[key], tensor) for key, tensor in self.source.tensors.items())
        return {name: tensor for name, tensor in named if name is not None}

    def without(self, prefix: str) -> Match:
        """Return the same match without the tensors of the file that were spread over others."""
        left_over, aside = (
            [key for key in keys if not key.startswith(prefix)]
            for keys in (self.left_over, self.aside)
        )
        return replace(self, left_over=left_over, aside=aside)

    def described(self, key: str) -> str:
        """Return the name of a tensor of the backbone, with its name in the file if it differs."""
        theirs = {name: key for key, name in self.names.items() if name is not None}
        name = theirs.get(key)
        if name is None and self.source.names.keymap is self.target.keymap:
            timm = self.target.to_timm(key)
            name = None if timm is None else self.source.names.from_timm(timm)
        name = None if name is None else self.source.in_file(name)
        return key if name in (None, key) else f"{key} ({name} in the file)"

    def prove(
        self, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path
    ) -> None:
        """Check that every tensor of a backbone is there, and that no other one is.

        Args:
            found: Tensors of the file by their names in the backbone.
            wanted: Tensors of the backbone that the file must have.
            path: Path of the file, for messages.

        Raises:
            InputError: If a tensor is missing, left over, or of another shape.
        """
        absent = [k for k in wanted if k not in found and not k.endswith((COUNTER, INDEX))]
        groups = {
            "missing": [self.described(key) for key in absent],
            "of another shape": self._misshapen(found, wanted),
            "of another order of patches": [
                self.described(key)
                for key in wanted
                if key.endswith(INDEX) and key in found and _differ(found[key], wanted[key])
            ],
            "left over": [self.source.in_file(key) for key in self.left_over],
        }
        faults = [f"{len(n)} {what}: {listing(n)}" for what, n in groups.items() if n]
        if faults:
            raise InputError(
                f"checkpoint {path} does not hold the config's backbone under {self.source.where} "
                f"({'; '.join(faults)}). The file: {self.source.layout.name}, "
                f"{self.source.scheme}; the backbone: {self.target}. "
                f"{remedy(self.left_over, absent, self.source.tensors, path)}"
            )

    def _misshapen(self, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
        return [
            f"{self.described(key)} ({tuple(found[key].shape)}, the backbone has "
            f"{tuple(own.shape)})"
            for key, own in wanted.items()
            if key in found and found[key].shape != own.shape
        ]


def match(source: Branch, wanted: Mapping[str, Tensor]) -> Match:
    """Find the names of a file's tensors in a backbone.

    Args:
        source: Tensors of the file.
        wanted: Tensors of the backbone by name.

    Returns:
        The names: those of the file if they are the backbone's own, and otherwise those of the
        tables.
    """
    target = recognise(wanted)
    if source.own:
        # The names in the file have no words of wrappers; in a few networks, they are their own.
        own = {bare(without_wrappers(name)): name for name in wanted}
        names: dict[str, str | None] = {key: own.get(bare(key), key) for key in source.tensors}
        if source.names.keymap is None:
            target = Names(None, target.side, target.wrapped)
    else:
        names = _by_tables(source, target)
    left_over, aside = _left_over(source, names, wanted)
    return Match(source, target, names, left_over, aside)


def _by_tables(source: Branch, target: Names) -> dict[str, str | None]:
    """Map the file's names to the backbone's, or to None where no rule covers a name."""
    names = source.names
    if names == target or names.keymap is not target.keymap:
        return {key: key for key in source.tensors}
    if names.side == target.side:
        # Names of timm that no rule covers are the same, too.
        return {key: _rewrapped(key, names, target) for key in source.tensors}
    theirs = {key: names.to_timm(key) for key in source.tensors}
    return {k: None if name is None else target.from_timm(name) for k, name in theirs.items()}


def _rewrapped(key: str, names: Names, target: Names) -> str | None:
    if names.wrapped and not key.startswith(WRAPPER):
        return None
    return WRAPPER * target.wrapped + bare(key)


def _left_over(
    source: Branch, names: Mapping[str, str | None], wanted: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    rest = [k for k, name in names.items() if name not in wanted and not k.endswith(INDEX)]
    taken = [(key, name) for key, name in names.items() if name in wanted]
    parts = {bare(word).split(".")[0] for pair in taken for word in pair if word}
    left_over = [key for key in rest if _belongs(key, source, parts)]
    return left_over, [key for key in rest if key not in left_over]


def _belongs(key: str, source: Branch, parts: set[str]) -> bool:
    """Return whether a tensor that the backbone lacks is one of the file's backbone."""
    own = bare(key)
    if source.names.keymap is not None and source.names.to_timm(key) is not None:
        return True
    if source.layout.is_aside(own):
        return False
    if own.split(".")[0] in parts:
        # Bare keys may include a head, but a thirteenth layer belongs to another backbone.
        return True
    return bool(source.prefix) and not (source.own and _CLASSIFIERS.match(own))


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.is_meta or other.is_meta:
        return False
    return not torch.equal(one.cpu().to(other.dtype), other.cpu())
