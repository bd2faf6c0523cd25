"""Pieces of HTML; whatever comes from outside is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as _escape
from pathlib import Path

from bam_mm.report.summary import Cell

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml"}


LONG = 26
"""From how many characters on a text is folded."""


def escape(value: object) -> str:
    """Text, for element content and quoted attributes alike."""
    return _escape(str(value), quote=True)


@dataclass(frozen=True)
class Head:
    """Head of a column.

    Attributes:
        text: What it says.
        first: How the first click sorts.
        kind: ``number`` or ``text``.
    """

    text: str
    first: str = "descending"
    kind: str = "number"


@dataclass(frozen=True)
class Entry:
    """What stands in a cell.

    Attributes:
        html: As it is; escaped already.
        value: What is sorted by, ``""`` for nothing.
        kind: ``number`` or ``text``.
    """

    html: str = ""
    value: str = ""
    kind: str = "number"


def number(cell: Cell | None, form: str) -> Entry:
    """A number with its deviation; an empty cell for None."""
    if cell is None:
        return Entry()
    said = escape(cell.text(form))
    return Entry(f"<strong>{said}</strong>" if cell.best else said, repr(cell.mean))


def text(value: object) -> Entry:
    """Any text."""
    return Entry(escape(value), str(value), "text")


def table(
    caption: str, heads: Sequence[Head], rows: Sequence[Sequence[Entry]], *, name: str
) -> str:
    """A table that sorts by click and by keyboard; the first entry of a row is its head.

    Args:
        caption: Above it.
        heads: Of the columns.
        rows: An entry a column.
        name: For assistive technology: of the region that scrolls.
    """
    top = "".join(
        f'<th scope="col" aria-sort="none" data-first="{head.first}"'
        + (' class="text"' if head.kind == "text" else "")
        + f'><button type="button">{escape(head.text)}</button></th>'
        for head in heads
    )
    body = "".join(
        f'<tr><th scope="row" data-value="{escape(row[0].value)}">{row[0].html}</th>'
        + "".join(
            f'<td data-value="{escape(e.value)}"'
            + (f' class="text{" long" * (len(e.value) > LONG)}"' if e.kind == "text" else "")
            + f">{e.html}</td>"
            for e in row[1:]
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f'<table class="sortable"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(path: Path, caption: str) -> str:
    """An image inside the page; nothing where the file is gone, or of an unknown kind."""
    media = MEDIA.get(path.suffix.lower())
    if media is None or not path.is_file():
        return ""
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img loading="lazy" alt="{escape(caption)}" src="data:{media};base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
