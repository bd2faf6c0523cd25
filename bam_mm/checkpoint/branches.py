"""Finding the backbone of a branch in the contents of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from bam_mm.checkpoint.architectures import recognise
from bam_mm.checkpoint.contents import tensors_of, without_wrappers
from bam_mm.checkpoint.dialects import Dialect, dialect_of
from bam_mm.checkpoint.layouts import BEIT, PLAIN, Layout, layout_of
from bam_mm.checkpoint.names import COUNTER, INDEX, Names, bare
from bam_mm.checkpoint.roles import BRANCHES, Root, choose, find_roots, leading_words, role
from bam_mm.errors import InputError

__all__ = ["BRANCHES", "Branch", "find_branch"]


@dataclass(frozen=True)
class Branch:
    """The tensors of one branch's backbone, including heads that share its prefix.

    Attributes:
        layout: Layout of the file.
        prefix: Prefix of the tensors without those of wrappers, ``""`` for bare keys.
        tensors: Tensors by name, without the prefix. A dialect's names are replaced by timm's.
        names: Naming scheme of the tensors.
        others: Keys of the file that have another prefix.
        candidates: Other backbones of the file, as ``backbone.* (student)``.
        dialect: Names of another library that the file has, None for those of the tables.
        changed: Description of the changes to the tensors of a dialect, ``""`` for none.
        own: Whether the file has every name of the backbone to load, so that no name is translated.
    """

    layout: Layout
    prefix: str
    tensors: dict[str, Tensor]
    names: Names
    others: list[str]
    candidates: list[str]
    dialect: Dialect | None = None
    changed: str = ""
    own: bool = False

    @property
    def where(self) -> str:
        """Location of the tensors in the file, for messages."""
        return self.prefix + "*" if self.prefix else "bare keys"

    @property
    def scheme(self) -> str:
        """Naming scheme of the file, for messages."""
        if self.own and self.names.keymap is None:
            return "the backbone's own names"
        return f"{self.names}{f' (from {self.dialect.name})' if self.dialect else ''}"

    def in_file(self, name: str) -> str:
        """Return the name that a tensor of this branch has in the file, without the prefix."""
        return self.dialect.in_file(name) if self.dialect else name


def find_branch(
    content: Mapping[str, Any], branch: str, path: str | Path, wanted: Iterable[str] = ()
) -> Branch:
    """Find the backbone of a branch in a checkpoint.

    Args:
        content: Contents of the checkpoint, from
            :func:`~bam_mm.checkpoint.reading.read_checkpoint`.
        branch: ``teacher`` or ``student``. The moving average of a model is its teacher. In a file
            with one model, both are this model.
        path: Path of the checkpoint, for messages.
        wanted: Names of the backbone to load, if it is known.

    Returns:
        The tensors of the backbone and their location.

    Raises:
        InputError: If the file has no tensors or two for the same name, only the other branch or
            several backbones that may be meant, or the branch is unknown.
    """
    if branch not in BRANCHES:
        raise InputError(f"branch {branch!r}: choose 'teacher' or 'student'")
    found = tensors_of(content, path)
    state, layout = found.state, layout_of(found.state)
    wanted = {without_wrappers(name) for name in wanted}
    roots = find_roots(list(state), found.nested, wanted)
    root = _choose(roots, branch, layout, list(state), path)
    rest = [r for r in roots if r != root]
    inner = tuple(r.prefix for r in rest if r.prefix.startswith(root.prefix))
    tensors, others = {}, []
    for key, tensor in state.items():
        if key.startswith(root.prefix) and not key.startswith(inner):
            tensors[key.removeprefix(root.prefix)] = tensor
        else:
            others.append(key)
    own = _has_all(tensors, wanted)
    dialect, changed = None if own else dialect_of(tensors), ""
    if dialect:
        renamed, changed = dialect.to_timm(tensors)
        dialect = dialect if renamed.keys() != tensors.keys() else None
        tensors = renamed
    candidates = [_described(r, roots, layout) for r in rest]
    names = recognise(tensors)
    if own and any(names.to_timm(key) is None for key in tensors if bare(key) in own):
        # Another architecture has some of the names of the table.
        names = Names(None, "timm" if names.wrapped else "mmpretrain", names.wrapped)
        layout = PLAIN if layout is BEIT else layout
    return Branch(
        layout,
        root.prefix,
        tensors,
        names,
        others,
        candidates,
        dialect,
        changed,
        own=bool(own),
    )


def _has_all(tensors: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Return the names of a backbone if a file has all of them, and otherwise none."""
    own = {bare(name) for name in wanted if not name.endswith((COUNTER, INDEX))}
    return own if own <= {bare(key) for key in tensors} else set()


def _choose(
    roots: Sequence[Root], branch: str, layout: Layout, keys: Sequence[str], path: str | Path
) -> Root:
    if not layout.trained:
        inside = tuple(r.prefix for r in roots if r.prefix)
        heads = any(role(leading_words(key)) > 0 for key in keys if not key.startswith(inside))
        return choose(roots, branch, path, heads=heads)
    trained = [r for r in roots if r.prefix.startswith(layout.trained)]
    average = [r for r in roots if r not in trained]
    if branch == "teacher":
        return choose(average or roots, branch, path)
    # The prefix itself does not count.
    own = [replace(r, role=r.role - role(layout.trained)) for r in trained]
    chosen = choose(own or roots, branch, path)
    return next(r for r in roots if r.prefix == chosen.prefix)


def _described(root: Root, roots: Sequence[Root], layout: Layout) -> str:
    value = root.role
    if layout.trained:
        value = -1 if root.prefix.startswith(layout.trained) else 1
    paired = any(r.role for r in roots)
    name = "teacher" if value > 0 else "student" if value < 0 or paired else ""
    return f"{root.where} ({name})" if name else root.where
