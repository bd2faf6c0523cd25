"""The models of a task against the best one, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bam_mm.errors import InputError
from bam_mm.report.summary import Column, columns
from bam_mm.report.tables import Data, head, number_cell, table, text_cell, text_head
from bam_mm.suite.comparing import Comparison, compare
from bam_mm.suite.definitions import Task
from bam_mm.suite.entries import Metric

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
    pairings = [(column, _pairings(column, done)) for column in columns(task, done, main=True)]
    # Columns with the same models share one bootstrap.
    metrics: dict[Pairing, list[Metric]] = {}
    for column, wanted in pairings:
        for pairing in wanted:
            metrics.setdefault(pairing, []).append(column.metric)
    runs = {(r["slug"], r["seed"]): r for r in done}
    found = {
        pairing: compare(task, *_records(pairing, runs), folder, metrics=some)
        for pairing, some in metrics.items()
    }
    rows = [
        row
        for column, wanted in pairings
        for pairing in wanted
        for row in _rows(column.metric, *_records(pairing, runs), found[pairing])
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


class Pairing(NamedTuple):
    """Models that are compared with the best one at a seed, all by the names of their folders."""

    best: str
    seed: int
    others: tuple[str, ...]


def _pairings(column: Column, done: Sequence[Record]) -> list[Pairing]:
    if len(column.cells) < 2 or column.metric.better == "neither":
        return []
    choose = min if column.metric.better == "lower" else max
    best = choose(column.cells, key=lambda slug: column.cells[slug].mean)
    known = {(r["slug"], r["seed"]) for r in done}
    seeds = sorted(seed for slug, seed in known if slug == best)
    others: dict[int, list[str]] = {}
    for slug in column.cells:
        shared = [seed for seed in seeds if (slug, seed) in known]
        if slug != best and shared:
            others.setdefault(shared[0], []).append(slug)
    return [Pairing(best, seed, tuple(slugs)) for seed, slugs in others.items()]


def _records(
    pairing: Pairing, runs: Mapping[tuple[str, int], Record]
) -> tuple[Record, list[Record]]:
    others = [runs[slug, pairing.seed] for slug in pairing.others]
    return runs[pairing.best, pairing.seed], others


def _rows(
    metric: Metric,
    first: Record,
    others: Sequence[Record],
    results: Sequence[list[Comparison] | InputError],
) -> list[list[Data]]:
    rows = []
    for record, result in zip(others, results, strict=True):
        names = record["model"]["name"], metric.label, first["model"]["name"]
        start, seed = [text_cell(name) for name in names], text_cell(first["seed"])
        if isinstance(result, InputError):
            empty = number_cell(None, ""), number_cell(None, "")
            rows.append([*start, *empty, text_cell(f"not compared: {result}"), seed])
        else:
            rows += [[*start, *_numbers(each), seed] for each in result if each.metric is metric]
    return rows


def _numbers(found: Comparison) -> list[Data]:
    form = f"+{found.metric.form}"
    change = found.difference
    difference = number_cell(change.value, form)
    difference["interval"] = f"[{change.low:{form}}, {change.high:{form}}]"
    p = number_cell(None if found.test is None else found.test.p, ".2g")
    return [difference, p, text_cell(found.verdict)]
