"""The report as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from bam_mm.report.published import published, published_numbers, rows_beside
from bam_mm.report.setup import task_setup
from bam_mm.report.summary import (
    Cell,
    Column,
    about_task,
    columns,
    every_column,
    image_limits,
    leaderboard,
    models_of,
)
from bam_mm.suite.definitions import Suite
from bam_mm.suite.intervals import interval_of
from bam_mm.suite.records import DONE, FAILED

Record = Mapping[str, Any]

PARTS = ("mean", "std", "seeds", "low", "high")
"""Columns of a metric in ``leaderboard.csv``."""

LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    # A row that starts with a bracket would be the option of the line break before it.
    "[": "{[}",
    "]": "{]}",
}
"""Characters that mean something in LaTeX, and how they are written."""


def markdown(suite: Suite, records: Sequence[Record], *, beside: bool = False) -> str:
    """Write leaderboard, published numbers, tasks and failures as Markdown.

    Args:
        suite: The suite.
        records: Records of the suite's tasks.
        beside: Whether the leaderboard has published numbers of the same protocols, marked as such.
    """
    board = leaderboard(suite, records)
    lines = [f"# {_plain(suite.title)}", "", _plain(suite.about), ""]
    limits = ", ".join(map(str, image_limits(records)))
    if limits:
        lines += [
            f"Quick try: at most {limits} images per data set. These numbers are not results."
        ]
        lines.append("")
    title = "## Measured" + " and published" * beside
    lines += [title, "", leaderboard_markdown(board, records, beside=beside)]
    numbers = published_numbers(every_column(suite, records))
    if numbers:
        heads = ["method", "value", "number", "protocol", "column with this protocol", "source"]
        body = [
            [
                row.name,
                _value(row.values[key]),
                published().quantity(key),
                published().protocol(key),
                title,
                row.source,
            ]
            for key, row, title in numbers
        ]
        lines += ["## Published, not measured here", "", *_table(heads, body), ""]
    for task in suite.tasks:
        found = columns(task, records)
        if any(column.cells for column in found):
            heads = ["model", *(column.metric.label for column in found)]
            lines += [f"## {_plain(task.title)}", "", f"{_plain(about_task(task, records))}.", ""]
            setup = task_setup(task, records)
            lines += [f"- {_plain(name)}: {_plain(text)}" for name, text in setup.items()]
            lines += [*([""] if setup else []), *_table(heads, _rows(found, records)), ""]
    failed = [r for r in records if r["status"] == FAILED]
    if failed:
        body = [[r["model"]["name"], r["task"], str(r["seed"]), r["message"]] for r in failed]
        lines += ["## Without a result", ""]
        lines += [*_table(["model", "task", "seed", "what happened"], body), ""]
    return "\n".join(lines)


def leaderboard_markdown(
    board: Sequence[Column], records: Sequence[Record], *, beside: bool = False
) -> str:
    """Write the leaderboard as a Markdown table.

    Args:
        board: Columns of the leaderboard.
        records: Records of the suite's tasks.
        beside: Whether published numbers of the same protocols follow, marked as such.
    """
    rows = [*_rows(board, records), *(_published(board, records) if beside else [])]
    return "\n".join([*_table(_names(board), rows), ""])


def leaderboard_latex(
    board: Sequence[Column], records: Sequence[Record], *, beside: bool = False
) -> str:
    """Write the leaderboard as a LaTeX table with the rules of the package booktabs.

    Args:
        board: Same as in :func:`leaderboard_markdown`.
        records: Same as in :func:`leaderboard_markdown`.
        beside: Same as in :func:`leaderboard_markdown`.
    """
    measured = [
        [_latex(name), *(_latex_cell(c.cells.get(slug), c.metric.form) for c in board)]
        for slug, name in models_of(records).items()
    ]
    published = [list(map(_latex, row)) for row in (_published(board, records) if beside else [])]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * len(board)}}}",
        "\\toprule",
        _latex_row(list(map(_latex, _names(board)))),
        "\\midrule",
        *map(_latex_row, measured),
        *(["\\midrule"] if published else []),
        *map(_latex_row, published),
        "\\bottomrule",
        "\\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def leaderboard_csv(suite: Suite, records: Sequence[Record]) -> str:
    """Write mean, std, number of seeds and interval of each main metric, one row per model.

    Published numbers are not included.
    """
    board = leaderboard(suite, records)
    keys = [f"{column.task.name}:{column.metric.key}" for column in board]
    heads = ["model", *(f"{key} {part}" for key in keys for part in PARTS)]
    rows = []
    for slug, name in models_of(records).items():
        row: list[Any] = [name]
        for column in board:
            cell = column.cells.get(slug)
            if cell is None:
                row += len(PARTS) * [""]
            else:
                ends = cell.interval or ("", "")
                row += [cell.mean, _empty(cell.std), cell.seeds, *ends]
        rows.append(row)
    return _csv([heads, *rows])


def records_csv(suite: Suite, records: Sequence[Record]) -> str:
    """Write every metric of every record, one row per number, and the failures' messages."""
    heads = ["model", "task", "seed", "status", "metric", "value", "message", "low", "high"]
    rows: list[list[Any]] = [heads]
    known = {task.name for task in suite.tasks}
    for r in records:
        head = [r["model"]["name"], r["task"], r["seed"], r["status"]]
        if r["task"] in known and r["status"] == DONE:
            for key, value in r["metrics"].items():
                rows.append([*head, key, value, "", *(interval_of(r, key) or ("", ""))])
        else:
            rows.append([*head, "", "", r["message"], "", ""])
    return _csv(rows)


def _names(board: Sequence[Column]) -> list[str]:
    return ["model", *(f"{column.task.title}, {column.metric.label}" for column in board)]


def _rows(board: Sequence[Column], records: Sequence[Record]) -> list[list[str]]:
    return [
        [name, *(_cell(column.cells.get(slug), column.metric.form) for column in board)]
        for slug, name in models_of(records).items()
    ]


def _published(board: Sequence[Column], records: Sequence[Record]) -> list[list[str]]:
    return [
        [f"{row.name} (published: {row.source})", *map(_value, values)]
        for row, values in rows_beside(board, records)
    ]


def _cell(cell: Cell | None, form: str) -> str:
    if cell is None:
        return ""
    text = f"{cell.text(form)} {cell.interval_text(form)}".rstrip()
    return f"**{text}**" if cell.best else text


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [[_plain(head) for head in heads], ["---"] * len(heads)]
    lines += [[_plain(cell, bold=True) for cell in row] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _plain(text: str, *, bold: bool = False) -> str:
    """Escape Markdown's special characters; with ``bold``, ``**`` around the whole text stays."""
    strong = bold and len(text) > 4 and text.startswith("**") and text.endswith("**")
    text = text[2:-2] if strong else text
    for char in "\\|<>[]`*_":
        text = text.replace(char, f"&#{ord(char)};" if char in "<>|" else f"\\{char}")
    text = " ".join(text.split())
    return f"**{text}**" if strong else text


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_cell(cell: Cell | None, form: str) -> str:
    if cell is None:
        return ""
    text = _latex(cell.text(form))
    text = f"\\textbf{{{text}}}" if cell.best else text
    interval = cell.interval_text(form)
    return f"{text} {{\\scriptsize {_latex(interval)}}}" if interval else text


def _latex(text: str) -> str:
    return " ".join("".join(LATEX.get(char, char) for char in text).split())


def _empty(value: float | None) -> float | str:
    return "" if value is None else value


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
