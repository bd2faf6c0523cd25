"""Ids of images and categories: one type, and references that find them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from bam_mm.data.coco.notes import Notes
from bam_mm.errors import InputError

Id = int | str

_LARGEST = 2**63
"""The evaluator holds ids in NumPy arrays, whose integers end here."""


def canonical(value: Any) -> Id | None:
    """Return the id that a value writes, with one type for ``7``, ``7.0`` and ``"7"``.

    Args:
        value: Value from a JSON file.

    Returns:
        An integral number or a text with one as int, another text without spaces at its ends, and
        None for anything else.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is int:
        return value
    if not isinstance(value, str) or "\0" in value:
        return None
    text = value.strip()
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 100:
        return int(text)
    return text or None


def _one_type(values: Sequence[Any], part: str, place: str) -> list[Id]:
    """Return ids in one type, unchanged if all are integers or all are texts already.

    The evaluator sorts ids in one NumPy array, which turns integers beside texts into texts that no
    annotation refers to.

    Args:
        values: Ids of a file's images or categories.
        part: ``images`` or ``categories``, for messages.
        place: Path of the file, for messages.

    Returns:
        The ids in the same order: integers if each is integral, else texts.

    Raises:
        InputError: If a value cannot be an id.
    """
    if all(type(v) is int and -_LARGEST <= v < _LARGEST for v in values):
        return list(values)
    ids = [canonical(value) for value in values]
    for index, each in enumerate(ids):
        if each is None:
            raise InputError(
                f"{part}[{index}] in {place} has id {values[index]!r:.80}: write an integer, as "
                "its annotations refer to it"
            )
    if all(isinstance(value, str) for value in values) and len(set(values)) == len(values):
        return list(values)
    known: list[Id] = [each for each in ids if each is not None]
    if all(isinstance(each, int) and -_LARGEST <= each < _LARGEST for each in known):
        return known
    return [str(each) for each in known]


def unify_ids(entries: Sequence[dict[str, Any]], part: str, place: str, notes: Notes) -> None:
    """Give the entries of a list ids in one type, in place, and note those that change.

    Args:
        entries: Images or categories of a file.
        part: ``images`` or ``categories``, for messages.
        place: Path of the file, for messages.
        notes: Notes to add to.

    Raises:
        InputError: If an entry has no id.
    """
    values = [entry.get("id") for entry in entries]
    for entry, each in zip(entries, _one_type(values, part, place), strict=True):
        if type(each) is not type(entry["id"]):
            notes.add(part, "with an id of another type")
        entry["id"] = each


def listed_once(
    entries: Sequence[dict[str, Any]], name: str, part: str, place: str, notes: Notes
) -> list[dict[str, Any]]:
    """Return the first entry of each id, and note how many are listed again.

    Args:
        entries: Images or categories of a file.
        name: Key of their names, ``file_name`` or ``name``.
        part: ``images`` or ``categories``, for messages.
        place: Path of the file, for messages.
        notes: Notes to add to.

    Raises:
        InputError: If two entries of one id have different names.
    """
    first: dict[Any, dict[str, Any]] = {}
    for entry in entries:
        other = first.setdefault(entry["id"], entry)
        if other[name] != entry[name]:
            raise InputError(
                f"{place} has two {part} with id {entry['id']!r}, {other[name]!r} and "
                f"{entry[name]!r}: give them ids of their own, also in the annotations"
            )
    notes.add(part, "listed twice", len(entries) - len(first))
    return list(first.values())


class References:
    """Find the id that a reference means, whatever type it is written in.

    Args:
        ids: Ids to refer to.
    """

    def __init__(self, ids: Sequence[Id]) -> None:
        self._ids = set(ids)
        self._written: dict[Hashable, Id | None] = {}
        for each in ids:
            key = str(canonical(each))
            # Two ids that differ only in their writing ("1", "01") must be referred to exactly.
            self._written[key] = None if key in self._written else each

    def find(self, value: Any) -> Id | None:
        """Return the id that ``value`` refers to; None if there is none, or more than one."""
        if type(value) in (int, str) and value in self._ids:
            return value
        written = canonical(value)
        return None if written is None else self._written.get(str(written))
