"""Where a codebase puts the branches of its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """What is particular to the checkpoints of one codebase.

    Keys are seen without what wrappers put before them (``module.`` of DistributedDataParallel,
    ``_orig_mod.`` of ``torch.compile``), and with ``teacher.`` or ``student.`` before the tensors
    that lie in the file under that name.

    Args:
        name: For people.
        marks: Regular expressions of keys; one that is there tells the layout.
        teacher: Prefixes under which the teacher's backbone may lie, the first that is there.
        student: The same for the student's.
        aside: Regular expressions of keys after the prefix that are not the backbone's: heads,
            decoders.
    """

    name: str
    marks: tuple[str, ...]
    teacher: tuple[str, ...]
    student: tuple[str, ...]
    aside: tuple[str, ...] = ()

    def marked(self, keys: Iterable[str]) -> bool:
        """Whether a file with these keys is of this layout."""
        patterns = [re.compile(mark) for mark in self.marks]
        return any(pattern.match(key) for key in keys for pattern in patterns)

    def prefix(self, keys: Iterable[str], branch: str) -> str:
        """Prefix of a branch's backbone: the first that some key has."""
        keys = list(keys)
        prefixes = getattr(self, branch)
        return next((p for p in prefixes if any(key.startswith(p) for key in keys)), prefixes[-1])

    def is_aside(self, key: str) -> bool:
        """Whether a key, without the prefix, belongs to a head or a decoder."""
        return any(re.match(pattern, key) for pattern in self.aside)
