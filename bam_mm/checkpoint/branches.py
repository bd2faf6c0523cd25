"""Finding the backbone of a branch in the contents of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bam_mm.checkpoint.architectures import recognise
from bam_mm.checkpoint.layouts import Layout, layout_of
from bam_mm.checkpoint.names import Names
from bam_mm.errors import InputError

BRANCHES = ("teacher", "student")

CONTAINERS = ("state_dict", "model", "module")
"""Keys of a file under which the tensors may be stored, if not at the top level."""

WRAPPERS = ("module", "_orig_mod")
"""Prefixes that DistributedDataParallel and torch.compile add to every key."""


@dataclass(frozen=True)
class Branch:
    """The tensors of one branch's backbone, including heads that share its prefix.

    Attributes:
        layout: Layout of the file.
        prefix: Prefix of the tensors without those of wrappers, ``""`` for bare keys.
        tensors: Tensors by name, without the prefix.
        names: Naming scheme of the tensors.
        others: Keys of the file that have another prefix.
    """

    layout: Layout
    prefix: str
    tensors: dict[str, Tensor]
    names: Names
    others: list[str]

    @property
    def where(self) -> str:
        """Location of the tensors in the file, for messages."""
        return self.prefix + "*" if self.prefix else "bare keys"


def find_branch(content: Mapping[str, Any], branch: str, path: str | Path) -> Branch:
    """Find the backbone of a branch in a checkpoint.

    Args:
        content: Contents of the checkpoint, from
            :func:`~bam_mm.checkpoint.reading.read_checkpoint`.
        branch: ``teacher`` or ``student``. In a file without a teacher, both are its only backbone.
        path: Path of the checkpoint, for messages.

    Returns:
        The tensors of the backbone and their location.

    Raises:
        InputError: If the file has no tensors or two for the same name, or the branch is unknown.
    """
    if branch not in BRANCHES:
        raise InputError(f"branch {branch!r}: choose 'teacher' or 'student'")
    state = _tensors(content, path)
    layout = layout_of(state)
    prefix = layout.prefix(state, branch)
    tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    others = [key for key in state if not key.startswith(prefix)]
    return Branch(layout, prefix, tensors, recognise(tensors), others)


def _tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    content = content if isinstance(content, Mapping) else {}
    for name in CONTAINERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    state: dict[str, Tensor] = {}
    for key, value in content.items():
        inner = value.items() if key in BRANCHES and isinstance(value, Mapping) else ()
        for name, tensor in [(str(key), value), *((f"{key}.{k}", v) for k, v in inner)]:
            if not isinstance(tensor, Tensor):
                continue
            bare = _without_wrappers(name)
            if bare in state:
                raise InputError(
                    f"checkpoint {path} has two tensors for {bare} (one is named {name}): delete "
                    "one of them"
                )
            state[bare] = tensor
    if not state:
        raise InputError(
            f"checkpoint {path} holds no tensors (its keys: {', '.join(map(str, content))[:200]}): "
            "pass a file with a state_dict"
        )
    return state


def _without_wrappers(key: str) -> str:
    first, _, rest = key.partition(".")
    if rest and first in WRAPPERS:
        return _without_wrappers(rest)
    if rest and first in BRANCHES:
        return f"{first}.{_without_wrappers(rest)}"
    return key
