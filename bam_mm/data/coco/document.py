"""The text of a COCO file: its encoding, its JSON, and which kind of file it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError, listing

PARTS = ("images", "annotations", "categories")
"""Keys of a COCO instance file whose values are lists of dicts."""

_STARTS = (
    (b"\x1f\x8b", "is compressed with gzip: unpack it"),
    (b"PK\x03\x04", "is a ZIP archive: unpack it"),
    (b"version https://git-lfs", "is a pointer of Git LFS: fetch the file with `git lfs pull`"),
    (b"<", "is a page in HTML or XML, as a failed download leaves: download the file again"),
)
_OTHERS = (
    ("segments_info", "a panoptic file: provide the instance file (instances_*.json)"),
    ("caption", "a file of captions: provide the instance file (instances_*.json)"),
)
_TOOLS = (
    ("shapes", "a file of LabelMe: export the annotations as COCO"),
    ("_via_img_metadata", "a project of VIA: export the annotations as COCO"),
    ("licenses", "a part of a COCO file: provide the instance file (instances_*.json)"),
)


def read_document(path: str | Path) -> dict[str, Any]:
    """Read the JSON of a file.

    Args:
        path: Path of the file.

    Returns:
        The content, as :func:`parse_document` returns it.

    Raises:
        InputError: If the file cannot be read, or as for :func:`parse_document`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): restore it") from error
    return parse_document(data, str(path))


def parse_document(data: bytes, place: str) -> dict[str, Any]:
    """Parse the bytes of a COCO instance file.

    Args:
        data: Content of the file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        place: Path of the file, for messages.

    Returns:
        The content, with ``images``, ``annotations`` and ``categories`` as lists of dicts. A file
        without ``annotations`` has an empty list of them.

    Raises:
        InputError: If this is no JSON, not one whole document, or not a COCO instance file.
    """
    if not data.strip():
        raise InputError(f"{place} is empty: write it again, or copy it again")
    for start, fault in _STARTS:
        if data.lstrip().startswith(start):
            raise InputError(f"{place} {fault}")
    return _checked(_parse(_decode(data, place), place), place)


def _decode(data: bytes, place: str) -> str:
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place} is not encoded as UTF-8 ({error.reason} at byte {error.start:,}): save it as "
            "UTF-8"
        ) from error


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{place} {_fault(text, error)}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and thousands of brackets in each other.
        raise InputError(
            f"{place} is not a COCO instance file ({error}): write it again"
        ) from error


def _fault(text: str, error: json.JSONDecodeError) -> str:
    where = f"line {error.lineno}, column {error.colno}"
    if error.msg == "Extra data":
        return (
            f"has more than one JSON document (the second at {where}), as JSON Lines do: write "
            "images, annotations and categories into one document"
        )
    if error.msg.startswith("Unterminated string") or not text[error.pos :].strip():
        return f"ends in the middle ({error.msg} at {where}): copy it again"
    return f"is not JSON ({error.msg} at {where}): correct it there, or export it again"


def _checked(content: Any, place: str) -> dict[str, Any]:
    if isinstance(content, list):
        raise InputError(
            f"{place} is a list of {len(content):,} entries, as files of detection results are: "
            "provide the instance file with images, annotations and categories"
        )
    if not isinstance(content, dict):
        raise InputError(
            f"{place} is {_kind(content)} instead of a COCO instance file: provide a dict with "
            "images, annotations and categories"
        )
    _check_kind(content, place)
    content.setdefault("annotations", [])
    for part in PARTS:
        _check_part(content[part], part, place)
    return content


def _check_kind(content: dict, place: str) -> None:
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    for key, kind in _OTHERS:
        if isinstance(first, dict) and key in first and "bbox" not in first:
            raise InputError(f"{place} is {kind}")
    missing = [part for part in ("images", "categories") if part not in content]
    if missing:
        kinds = [kind for key, kind in _TOOLS if key in content]
        present = listing(map(repr, content)) or "an empty dict"
        raise InputError(
            f"{place} is {kinds[0]}"
            if kinds
            else f"{place} has no {' and no '.join(missing)}, only {present}: "
            "provide a COCO instance file with images, annotations and categories"
        )


def _check_part(entries: Any, part: str, place: str) -> None:
    if not isinstance(entries, list):
        raise InputError(
            f"{part} in {place} is {_kind(entries)}: write a list of dicts, as COCO does"
        )
    for index, entry in enumerate(entries):
        if type(entry) is not dict:
            raise InputError(
                f"{part}[{index}] in {place} is {_kind(entry)}: write a dict, or remove it"
            )


def _kind(value: Any) -> str:
    names = {dict: "a dict", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
