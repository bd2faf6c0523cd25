"""Categories of a COCO file: distinct ids and distinct names."""

from __future__ import annotations

from typing import Any

from bam_mm.data.coco.identifiers import References, listed_once, unify_ids
from bam_mm.data.coco.notes import Notes
from bam_mm.errors import InputError


def check_categories(content: dict[str, Any], place: str, notes: Notes) -> None:
    """Check the categories of a file, and change them in place where one reading is possible.

    Names are stripped, ids get one type, and a category twice in the list is kept once. Of two
    categories of one name, that without annotations is removed (the parent that some tools add).

    Args:
        content: Content of the file.
        place: Path of the file, for messages.
        notes: Notes to add to.

    Raises:
        InputError: If there is no category, one has no id or no name, or two of them cannot be
            told apart.
    """
    entries: list[dict] = content["categories"]
    if not entries:
        raise InputError(f"{place} has no category: list those that its annotations refer to")
    for index, entry in enumerate(entries):
        _check_name(entry, index, place, notes)
    unify_ids(entries, "categories", place, notes)
    entries = listed_once(entries, "name", "categories", place, notes)
    content["categories"] = _without_repeated_names(content, entries, place, notes)


def _check_name(entry: dict, index: int, place: str, notes: Notes) -> None:
    name = entry.get("name")
    if type(name) in (int, float):
        name = str(name)
    if not isinstance(name, str) or not name.strip():
        raise InputError(
            f"categories[{index}] in {place} has name {name!r:.80}: write the name of the class"
        )
    if name.strip() != entry["name"]:
        notes.add("categories", "with spaces around the name, or a number as name")
    entry["name"] = name.strip()


def _without_repeated_names(
    content: dict, entries: list[dict], place: str, notes: Notes
) -> list[dict]:
    groups: dict[str, list[dict]] = {}
    for entry in entries:
        groups.setdefault(entry["name"], []).append(entry)
    if len(groups) == len(entries):
        return entries
    references = References([entry["id"] for entry in entries])
    used = {references.find(a.get("category_id")) for a in content["annotations"]}
    removed: list[dict] = []
    for name, group in groups.items():
        named = [entry for entry in group if entry["id"] in used] or group[:1]
        if len(named) > 1:
            raise InputError(
                f"{place} has annotations of two categories with the name {name!r} (ids "
                f"{named[0]['id']!r} and {named[1]['id']!r}): rename one, or use one id for both"
            )
        removed += [entry for entry in group if entry is not named[0]]
    notes.add("categories", "without annotations and with the name of another", len(removed))
    return [entry for entry in entries if not any(entry is each for each in removed)]
