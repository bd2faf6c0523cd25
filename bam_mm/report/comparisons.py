"""The models of a task against the best one, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.report.summary import Column, columns
from bam_mm.report.tables import Data, head, number_cell, table, text_cell, text_head
from bam_mm.suite.comparing import Comparison, compare
from bam_mm.suite.definitions import Task

Record = Mapping[str, Any]


def comparison_table(task: Task, done: Sequence[Record], folder: Path) -> Data | None:
    """Build the table of the differences to the best model, for each metric of the leaderboard.

    Each model is compared at the first seed that it has in common with the best one.

    Args:
        task: The task.
        done: Records of its finished runs, with one protocol.
        folder: Work folder of the benchmark, which holds the scores of the images.

    Returns:
        The table; None if no two models can be compared.
    """
    rows = [
        row
        for column in columns(task, done, main=True)
        for row in _rows(task, column, done, folder)
    ]
    if not rows:
        return None
    heads = [
        text_head("model"),
        text_head("metric"),
        text_head("compared with"),
        head("difference"),
    ]
    heads += [head("McNemar's p", "ascending"), text_head("verdict"), text_head("seed")]
    caption = (
        f"{task.title}, differences on the same images. In brackets: 95 % interval of the paired "
        "bootstrap. Two models are told apart if it leaves out 0 and McNemar's p, where there is "
        "one, is below 0.05."
    )
    return table(caption, heads, rows, name=f"{task.title}, differences")


def _rows(task: Task, column: Column, done: Sequence[Record], folder: Path) -> list[list[Data]]:
    if len(column.cells) < 2 or column.metric.better == "neither":
        return []
    choose = min if column.metric.better == "lower" else max
    best = choose(column.cells, key=lambda slug: column.cells[slug].mean)
    by_seed = {(r["slug"], r["seed"]): r for r in done}
    seeds = sorted({r["seed"] for r in done if r["slug"] == best})
    others: dict[int, list[Record]] = {}
    for slug in column.cells:
        shared = [seed for seed in seeds if (slug, seed) in by_seed]
        if slug != best and shared:
            others.setdefault(shared[0], []).append(by_seed[slug, shared[0]])
    rows = []
    for seed, records in others.items():
        first = by_seed[best, seed]
        results = compare(task, first, records, folder, main=True)
        for record, result in zip(records, results, strict=True):
            names = record["model"]["name"], column.metric.label, first["model"]["name"]
            start = [text_cell(name) for name in names]
            if isinstance(result, InputError):
                empty = number_cell(None, ""), number_cell(None, "")
                rows.append([*start, *empty, text_cell(f"not compared: {result}"), text_cell(seed)])
            else:
                rows += [
                    [*start, *_numbers(each), text_cell(seed)]
                    for each in result
                    if each.metric is column.metric
                ]
    return rows


def _numbers(found: Comparison) -> list[Data]:
    form = f"+{found.metric.form}"
    change = found.difference
    difference = number_cell(change.value, form)
    difference["interval"] = f"[{change.low:{form}}, {change.high:{form}}]"
    p = number_cell(None if found.test is None else found.test.p, ".2g")
    return [difference, p, text_cell(found.verdict)]
