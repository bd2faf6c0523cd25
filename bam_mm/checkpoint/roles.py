"""The words by which codebases name the two branches of a model, its backbone and its heads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bam_mm.checkpoint.dialects import MARKS
from bam_mm.checkpoint.names import WRAPPER
from bam_mm.errors import InputError

BRANCHES = ("teacher", "student")

TEACHER = frozenset(
    {
        "teacher",
        "momentum",
        "ema",
        "target",
        "averaged",
        "average",
        "shadow",
        "polyak",
        "swa",
        "encoder_k",
        "key_encoder",
        "encoder_key",
    }
)
"""Names of the network that follows the other one as a moving average."""

STUDENT = frozenset(
    {
        "student",
        "online",
        "encoder_q",
        "query_encoder",
        "encoder_query",
        "base_encoder",
        "context_encoder",
        "current_model_state",
    }
)
"""Names of the network that is trained."""

BACKBONES = frozenset(
    {
        "backbone",
        "encoder",
        "visual",
        "image_encoder",
        "trunk",
        "vit",
        "model",
        "net",
        "network",
        "feature_extractor",
    }
)
"""Names of a backbone, or of what contains it."""

HEADS = frozenset(
    {
        "head",
        "heads",
        "neck",
        "projector",
        "projection",
        "proj",
        "predictor",
        "prediction",
        "decoder",
        "decode",
        "queue",
        "text",
        "prompt",
        "prototypes",
        "classifier",
        "mlp",
        "criterion",
        "discriminator",
        "regressor",
        "generator",
        "tokenizer",
    }
)
"""Names of the parts of a model that are not its backbone."""

FOREIGN = frozenset({"generator", "tokenizer"})
"""Names of networks of another kind, whose features a model predicts."""

SEQUENTIAL = frozenset({"target_net", "encoder_k", "momentum_encoder"})
"""Names in mmpretrain of a backbone and its neck, which are the modules 0 and 1."""

_PREFERRED = ("backbone", "encoder", "visual", "image_encoder", "trunk", "model", "net", "network")
_BEFORE_MARK = re.compile(rf"((?:[^.]+\.)*?)(?:{'|'.join(MARKS)})")


@dataclass(frozen=True)
class Root:
    """A prefix under which a file holds a backbone.

    Attributes:
        prefix: The prefix, ``""`` for bare keys.
        role: Number of names of the teacher in the prefix minus those of the student.
    """

    prefix: str
    role: int

    @property
    def where(self) -> str:
        """The prefix in messages."""
        return f"{self.prefix}*" if self.prefix else "bare keys"


def words_of(name: str) -> set[str]:
    """Return the words of a name, and the name, as ``momentum``, ``net`` and ``momentum_net``."""
    return {name, *name.lower().split("_")}


def role(prefix: str) -> int:
    """Return the number of names of the teacher in a prefix minus those of the student."""
    score = 0
    for segment in filter(None, prefix.split(".")):
        words = words_of(segment)
        if not words & FOREIGN:
            score += bool(words & TEACHER) - bool(words & STUDENT)
    return score


def find_roots(
    keys: Sequence[str], nested: Iterable[str] = (), wanted: Iterable[str] = ()
) -> list[Root]:
    """Find the prefixes under which a file holds backbones.

    They are recognised by the names of the backbone to load, by the marks of known architectures
    if these names are not in the file, and by the words that the names begin with if there are no
    such marks.

    Args:
        keys: Names of the tensors, without wrappers.
        nested: Names of containers whose tensors are among them.
        wanted: Names of the backbone to load.

    Returns:
        The roots, in the order of the file.
    """
    exact = _before_names(keys, {name.removeprefix(WRAPPER) for name in wanted})
    if exact:
        return [Root(p, role(p)) for p in exact]
    found = [match[1] for match in map(_BEFORE_MARK.match, keys) if match]
    prefixes = list(dict.fromkeys(prefix.removesuffix(WRAPPER) for prefix in found))
    prefixes = [p for p in _without_repeated(prefixes) if not _is_head(p)]
    prefixes = [p for p in prefixes if not any(_is_part(p, other) for other in prefixes)]
    if not prefixes:
        prefixes = _by_words(keys, BACKBONES | set(nested)) or [""]
    return [Root(p, role(p)) for p in prefixes]


def choose(roots: Sequence[Root], branch: str, path: object, *, heads: bool = False) -> Root:
    """Choose the root of a branch.

    A file in which no prefix has a name of the teacher or of the student holds one model, which
    serves as both. Otherwise, the teacher is what is named so, and the student is what is named so
    or has no such name.

    Args:
        roots: Roots from :func:`find_roots`.
        branch: ``teacher`` or ``student``.
        path: Path of the file, for messages.
        heads: Whether the file has other tensors of the teacher, such as those of its head.

    Returns:
        The root of the branch.

    Raises:
        InputError: If the file holds the other branch alone, or two backbones that both may be
            meant.
    """
    sign = 1 if branch == "teacher" else -1
    best = max(sign * root.role for root in roots)
    if best <= 0:
        _refuse_other_branch(roots, branch, path, heads)
        best = 0
    pool = [root for root in roots if sign * root.role == best]
    pool.sort(key=_preference)
    if len(pool) > 1 and _preference(pool[0]) == _preference(pool[1]):
        raise InputError(
            f"checkpoint {path} holds several backbones for branch={branch} "
            f"({', '.join(root.where for root in pool)}): save the one that is meant to a new file"
        )
    return pool[0]


def _refuse_other_branch(roots: Sequence[Root], branch: str, path: object, heads: bool) -> None:
    plain = [root for root in roots if root.role == 0]
    named = [root for root in roots if root.role != 0]
    # Beside a student, the backbone without a name is no teacher; beside a teacher, it is the
    # student.
    others = named + plain if branch == "teacher" and (named or heads) else named
    if others and not (branch == "student" and plain):
        other = "student" if branch == "teacher" else "teacher"
        where = ", ".join(root.where for root in others)
        raise InputError(
            f"checkpoint {path} holds no {branch}: its backbone is {where}; set branch={other} to "
            "load it"
        )


def _preference(root: Root) -> tuple[int, int]:
    first = root.prefix.split(".")[0]
    if not first:
        return 2, 0
    return (0, _PREFERRED.index(first)) if first in _PREFERRED else (1, 0)


def _before_names(keys: Sequence[str], names: set[str]) -> list[str]:
    """Return the prefixes before at least half of some names."""
    counts: Counter[str] = Counter()
    for key in keys:
        segments = key.split(".")
        for start in range(len(segments)):
            if ".".join(segments[start:]) in names:
                counts["".join(f"{segment}." for segment in segments[:start])] += 1
    prefixes = [p.removesuffix(WRAPPER) for p, count in counts.items() if 2 * count >= len(names)]
    return [p for p in dict.fromkeys(prefixes) if not _is_head(p)]


def _without_repeated(prefixes: list[str]) -> list[str]:
    # Several prefixes that differ in a number are the stages of one model.
    patterns = [re.sub(r"(?<![^.])\d+\.", "*.", prefix) for prefix in prefixes]
    return [p for p, pattern in zip(prefixes, patterns, strict=True) if patterns.count(pattern) < 2]


def _is_part(prefix: str, other: str) -> bool:
    # A part of a backbone may have the names of another architecture.
    if prefix == other or not prefix.startswith(other):
        return False
    rest = prefix.removeprefix(other)
    return not role(rest) and rest.split(".")[0] not in BACKBONES


def _is_head(prefix: str) -> bool:
    return any(words_of(segment) & HEADS for segment in prefix.split("."))


def _by_words(keys: Sequence[str], known: frozenset[str]) -> list[str]:
    counts = Counter(leading_words(key, known) for key in keys)
    sizes = {p: count for p, count in counts.items() if not _is_head(p)}
    # A few tensors beside a backbone, such as a temperature, are not another one.
    return [
        p
        for p, size in sizes.items()
        if 2 * size > max(other for q, other in sizes.items() if role(q) == role(p))
    ]


def leading_words(key: str, known: frozenset[str] = BACKBONES) -> str:
    """Return the words with which a name begins that are those of a branch, backbone or head.

    Args:
        key: Name of a tensor, such as ``teacher.neck.fc.weight``.
        known: Names of backbones and of what contains them.

    Returns:
        The prefix, such as ``teacher.neck.``.
    """
    segments = key.split(".")
    count = 0
    for segment in segments[:-1]:
        if segment not in known and not role(segment) and not _is_head(segment):
            break
        count += 1
    if count and segments[count - 1] in SEQUENTIAL and segments[count] == "0":
        count += 1
    return "".join(f"{segment}." for segment in segments[:count])
