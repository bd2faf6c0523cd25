"""The report as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.report.markup import Entry, Head, escape, number, table, text
from bam_mm.report.published import published_rows
from bam_mm.report.sections import (
    cost,
    failures,
    gallery,
    pretraining,
    pretraining_cost,
    provenance,
    task_section,
)
from bam_mm.report.style import CSS, SCRIPT
from bam_mm.report.summary import Column, leaderboard, models_of
from bam_mm.suite.definitions import Suite

Record = Mapping[str, Any]


def page(suite: Suite, records: Sequence[Record], folder: Path) -> str:
    """The whole page.

    Args:
        suite: The suite.
        records: Of its tasks.
        folder: Work folder of the benchmark, where the pictures lie.

    Returns:
        HTML.
    """
    columns = leaderboard(suite, records)
    tasks = [task for task in suite.tasks if any(r["task"] == task.name for r in records)]
    sections = {
        "leaderboard": ("Leaderboard", board(columns, records)),
        "published": ("Published numbers", published(columns)),
        "failures": ("Without a result", failures(records)),
        "tasks": ("Tasks", "".join(task_section(task, records, folder) for task in tasks)),
        "pretraining": ("Pretraining", pretraining(records)),
        "pictures": ("Pictures", gallery(folder)),
        "cost": ("Cost", cost(suite, records) + pretraining_cost(folder)),
        "provenance": ("How this was made", provenance(suite, records)),
    }
    sections = {name: section for name, section in sections.items() if section[1]}
    links = "".join(f'<li><a href="#{n}">{escape(t)}</a></li>' for n, (t, _) in sections.items())
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{escape(title)}'
        f"</h2>{content}</section>"
        for name, (title, content) in sections.items()
    )
    limits = sorted({r["limit"] for r in records if r.get("limit") is not None})
    note = (
        f'<p class="note">A quick try: at most {", ".join(map(str, limits))} images of each data '
        "set. These are no results.</p>"
        if limits
        else ""
    )
    made = time.strftime("%Y-%m-%d %H:%M")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{escape(suite.title)}: benchmark</title><style>{CSS}</style></head>
<body><a class="skip" href="#leaderboard">to the leaderboard</a>
<header><h1>{escape(suite.title)}</h1><p>{escape(suite.about)}</p>{note}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>{body}</main>
<footer><p>Written by bam-mm on {made}.</p><p id="status" role="status"></p></footer>
<script>{SCRIPT}</script></body></html>
"""


def board(columns: Sequence[Column], records: Sequence[Record]) -> str:
    """The leaderboard: a row a model, a column a main metric."""
    if not columns:
        return "<p>No run has ended yet.</p>"
    heads = [Head("model", "ascending", "text")]
    for column in columns:
        first = "ascending" if column.metric.better == "lower" else "descending"
        heads.append(Head(f"{column.task.title}, {column.metric.label}", first))
    rows = [
        [text(name), *(number(c.cells.get(slug), c.metric.form) for c in columns)]
        for slug, name in models_of(records).items()
    ]
    seeds = max((cell.seeds for c in columns for cell in c.cells.values()), default=0)
    caption = "Measured here. Bold: the best of a column."
    if seeds > 1:
        caption += " Mean over seeds ± standard deviation of the sample (n - 1); none for one seed."
    return table(caption, heads, rows, name="leaderboard")


def published(columns: Sequence[Column]) -> str:
    """Published rows of the leaderboard's columns, in a table of their own."""
    mine = [column for column in columns if column.metric.published]
    rows = published_rows([column.metric.published for column in mine])
    if not rows:
        return ""
    heads = [Head("method", "ascending", "text"), Head("backbone", "ascending", "text")]
    heads += [Head(f"{c.task.title}, {c.metric.label}") for c in mine]
    heads.append(Head("source", "ascending", "text"))
    body = []
    for row in rows:
        values = [row.values.get(column.metric.published) for column in mine]
        cells = [Entry() if v is None else Entry(f"{v:.1f}", repr(v)) for v in values]
        body.append([text(row.method), text(row.backbone), *cells, text(row.source)])
    return "<p>Not measured here: as their authors, or others for them, report them.</p>" + table(
        "Published, with the source of each row.", heads, body, name="published numbers"
    )
