"""Tables as plain data: a caption, heads and rows of cells, without any HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bam_mm.report.summary import Cell

Data = dict[str, Any]
"""Nested dicts, lists, strings, numbers, booleans and None, which JSON can hold."""


def table(
    caption: str, heads: Sequence[Data], rows: Sequence[Sequence[Data]], *, name: str
) -> Data:
    """Build a table; the first cell of a row is the head of that row.

    Args:
        caption: Text above the table.
        heads: One head per column, from :func:`head` or :func:`text_head`.
        rows: One cell per column, from the functions below.
        name: Name of the table for screen readers.

    Returns:
        ``caption``, ``name``, ``heads`` and ``rows``.
    """
    return {
        "caption": caption,
        "name": name,
        "heads": list(heads),
        "rows": [list(row) for row in rows],
    }


def head(text: str, first: str = "descending", kind: str = "number") -> Data:
    """Build the head of a column.

    Args:
        text: Title of the column.
        first: Order after the first click, ``ascending`` or ``descending``.
        kind: ``number`` or ``text``.
    """
    return {"text": text, "first": first, "kind": kind}


def text_head(text: str) -> Data:
    """Build the head of a column of text."""
    return head(text, "ascending", "text")


def text_cell(text: object) -> Data:
    """Build a cell of text."""
    return {"text": str(text), "value": str(text), "kind": "text", "best": False}


def number_cell(
    value: float | None, form: str, text: str | None = None, best: bool = False
) -> Data:
    """Build a cell with a number.

    Args:
        value: The number, by which the column is sorted; None makes an empty cell.
        form: Format of the number.
        text: Text to show instead of the formatted number.
        best: Whether the number is the best of its column.
    """
    if value is None:
        return {"text": "", "value": None, "kind": "number", "best": False}
    return {
        "text": format(value, form) if text is None else text,
        "value": value if math.isfinite(value) else str(value),  # JSON knows no NaN.
        "kind": "number",
        "best": best,
    }


def mean_cell(cell: Cell | None, form: str, *, heat: bool = False) -> Data:
    """Build a cell with a mean, its deviation and its interval; None makes an empty cell.

    Args:
        cell: The numbers.
        form: Format of the numbers.
        heat: Whether the cell shows the place between the worst and the best model as a colour.
    """
    if cell is None:
        return number_cell(None, form)
    made = number_cell(cell.mean, form, text=cell.text(form), best=cell.best)
    if heat and cell.heat is not None:
        made["heat"] = cell.heat
    return {**made, "interval": cell.interval_text(form)} if cell.interval else made
