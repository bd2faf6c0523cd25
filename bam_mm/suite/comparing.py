"""Comparisons of two models on the same test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bam_mm.checkpoint.settings import differences
from bam_mm.errors import InputError, listing
from bam_mm.evaluation import Difference, McNemar, UnitScores, mcnemar, paired_bootstraps
from bam_mm.evaluation.bootstrap import LEVEL
from bam_mm.protocols.unit_scores import UnitTable
from bam_mm.suite.definitions import Task
from bam_mm.suite.entries import Metric
from bam_mm.suite.intervals import MIN_UNITS, agrees, unit_tables
from bam_mm.suite.protocol import protocol_differences
from bam_mm.suite.records import DONE, protocol_groups, read_records, run_folder

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images, or videos.

    Attributes:
        metric: The metric; all numbers are scaled as it is displayed.
        first: Score of the first model.
        second: Score of the second model.
        difference: Second score minus first, with its interval.
        test: McNemar's test, for a top-k accuracy; otherwise None.
        units: Number of images or videos.
        kind: ``images`` or ``videos``.
    """

    metric: Metric
    first: float
    second: float
    difference: Difference
    test: McNemar | None
    units: int
    kind: str

    @property
    def verdict(self) -> str:
        """Whether the second model is ``better``, ``worse`` or ``not told apart``.

        The interval of the difference must leave out 0. McNemar's test, where there is one, must
        agree at the same level: if a handful of images decide, the bootstrap alone is too sure.
        """
        agreed = self.test is None or self.test.p < 1 - LEVEL
        if not self.difference.told_apart or not agreed:
            return "not told apart"
        better = (self.difference.value > 0) == (self.metric.better == "higher")
        return "better" if better else "worse"


def compare(
    task: Task,
    first: Record,
    others: Sequence[Record],
    folder: Path,
    *,
    metrics: Sequence[Metric] | None = None,
) -> list[list[Comparison] | InputError]:
    """Compare models with a first one on the same images.

    Args:
        task: The task.
        first: Record of the first model.
        others: Records of the other models.
        folder: Work folder of the benchmark, which holds the scores of the images.
        metrics: Metrics of the task to compare, None for all.

    Returns:
        For each of the other models, the comparisons of the metrics whose scores of images both
        runs have kept, in the order of ``metrics``; none for fewer than :data:`MIN_UNITS` images.
        If the test sets or the protocols differ, or a file is damaged, the error stands in their
        place.
    """
    metrics = task.metrics if metrics is None else metrics
    results: list[list[Comparison] | InputError] = []
    pairs: dict[tuple[int, str], tuple[UnitScores, UnitScores]] = {}
    tables: dict[tuple[int, str], UnitTable] = {}
    for number, other in enumerate(others):
        try:
            for key, table, pair in _pairs(first, other, [m.key for m in metrics], folder):
                pairs[number, key], tables[number, key] = pair, table
            results.append([])
        except InputError as error:
            results.append(error)
    # All pairs of a test set share one pass over its draws.
    found: dict[tuple[int, str], Difference] = {}
    for size in {len(table.names) for table in tables.values()}:
        found |= paired_bootstraps({n: p for n, p in pairs.items() if len(p[0]) == size})
    for number, result in enumerate(results):
        if isinstance(result, list):
            result += [
                _comparison(metric, tables[place], pairs[place], found[place])
                for metric in metrics
                if (place := (number, metric.key)) in found
            ]
    return results


def compare_models(
    tasks: Sequence[Task], first: str, second: str, folder: Path, *, seed: int = 0
) -> dict[str, list[Comparison]]:
    """Compare two models in all tasks that both have finished.

    Args:
        tasks: Tasks to look at.
        first: Name of the first model, as in the tables.
        second: Name of the second model.
        folder: Work folder of the benchmark.
        seed: Seed of both runs.

    Returns:
        The comparisons by task, second minus first.

    Raises:
        InputError: If a model is unknown or both are the same, the test sets of a task differ, or
            there is no task that can be compared.
    """
    records = read_records(folder)
    known = list(dict.fromkeys(record["model"]["name"] for record in records))
    for name in (first, second):
        if name not in known:
            raise InputError(
                f"{folder} holds no record of a model {name!r}: "
                + (
                    f"use {listing(known)}, or run it with bam-mm benchmark run"
                    if known
                    else "it has none at all; run the models with bam-mm benchmark run, or set "
                    "--work-dir to the folder of their records"
                )
            )
    if first == second:
        raise InputError(
            f"{folder}: {first!r} would be compared with itself; name two different models"
            + (f" ({listing(known)})" if len(known) > 1 else "")
        )
    runs = {
        (record["task"], record["model"]["name"]): record
        for record in records
        if record["seed"] == seed and record["status"] == DONE
    }
    found = {}
    for task in tasks:
        pair = runs.get((task.name, first)), runs.get((task.name, second))
        if pair[0] is None or pair[1] is None:
            continue
        [result] = compare(task, pair[0], [pair[1]], folder)
        if isinstance(result, InputError):
            raise result
        if result:
            found[task.name] = result
    if not found:
        raise InputError(
            f"{folder}: there is no task in which {first} and {second} both have a result with "
            f"seed {seed}, the scores of the test images, and at least {MIN_UNITS} of them; "
            "choose another --seed, or delete the records of an older version and run again"
        )
    return found


def _pairs(
    first: Record, other: Record, keys: Sequence[str], folder: Path
) -> Iterator[tuple[str, UnitTable, tuple[UnitScores, UnitScores]]]:
    """The scores of both models by metric, in the order of the first one's images."""
    _check_same_protocol(first, other)
    ours, theirs = _scores_of(first, folder), _scores_of(other, folder)
    names = f"{first['model']['name']} and {other['model']['name']}"
    for key in keys:
        if key in ours and key in theirs:
            order = _same_units(ours[key], theirs[key], f"task {first['task']}: {names}")
            if len(order) >= MIN_UNITS:
                pair = ours[key].scores[key], theirs[key].scores[key].take(order)
                yield key, ours[key], pair


def _comparison(
    metric: Metric, table: UnitTable, pair: tuple[UnitScores, UnitScores], found: Difference
) -> Comparison:
    hits = [score.correct for score in pair]
    scaled = replace(found, **{name: metric.scale * value for name, value in vars(found).items()})
    return Comparison(
        metric,
        metric.scale * pair[0].value,
        metric.scale * pair[1].value,
        scaled,
        None if hits[0] is None or hits[1] is None else mcnemar(*hits),
        len(table.names),
        table.kind,
    )


def _scores_of(record: Record, folder: Path) -> dict[str, UnitTable]:
    """The tables of a finished run by metric, without those that are not of the record's score."""
    if record["status"] != DONE:
        return {}
    run = run_folder(folder, record["slug"], record["task"], record["seed"])
    return {
        key: table
        for table in unit_tables(run)
        for key, score in table.scores.items()
        if key in record["metrics"] and agrees(score, record["metrics"][key])
    }


def _check_same_protocol(first: Record, other: Record) -> None:
    found = [f"data.{line}" for line in differences(first["data"], other["data"])]
    if not protocol_groups(first).isdisjoint(protocol_groups(other)):
        found += protocol_differences(first["protocol"], other["protocol"])
    if found:
        raise InputError(
            f"task {first['task']}: {first['model']['name']} and {other['model']['name']} were "
            f"tested in different ways and cannot be compared: {'; '.join(found)}"
        )


def _same_units(first: UnitTable, second: UnitTable, where: str) -> list[int]:
    """The places in the second table of the names of the first one."""
    places = {name: place for place, name in enumerate(second.names)}
    lacking = [name for name in first.names if name not in places]
    surplus = sorted({*second.names} - {*first.names})
    if lacking or surplus:
        raise InputError(
            f"{where} were tested on different {first.kind} and cannot be compared: "
            f"{len(lacking)} only by the first, {len(surplus)} only by the second "
            f"({listing((lacking + surplus)[:3])}); test both on the same files"
        )
    return [places[name] for name in first.names]
