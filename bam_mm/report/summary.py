"""From records to the numbers of the tables: mean and deviation over seeds, and the best model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bam_mm.errors import InputError
from bam_mm.suite.definitions import Suite, Task
from bam_mm.suite.entries import Metric
from bam_mm.suite.intervals import interval_of
from bam_mm.suite.protocol import filled_in
from bam_mm.suite.records import DONE, protocol_groups, result_differences

Record = Mapping[str, Any]


HOTTEST = 4
"""Heat of the best of a column; the stylesheet has ``.h1`` to ``.h4``."""


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        mean: Mean over the seeds.
        std: Standard deviation of the sample (over n - 1); None for one seed.
        seeds: Number of seeds.
        best: Whether no other model has a better mean; False if there is no other model.
        interval: Ends of the interval over the test images, averaged over the seeds; None if a seed
            has none.
        heat: Place between the worst (0) and the best model (:data:`HOTTEST`); None if all are
            equal, or there is no other.
    """

    mean: float
    std: float | None
    seeds: int
    best: bool = False
    interval: tuple[float, float] | None = None
    heat: int | None = None

    def text(self, form: str = ".1f") -> str:
        """Format the number, such as ``91.5 ± 0.4``."""
        return f"{self.mean:{form}}" + ("" if self.std is None else f" ± {self.std:{form}}")

    def interval_text(self, form: str = ".1f") -> str:
        """Format the interval, such as ``[90.1, 92.8]``; empty if there is none."""
        if self.interval is None:
            return ""
        return f"[{self.interval[0]:{form}}, {self.interval[1]:{form}}]"


@dataclass(frozen=True)
class Column:
    """A metric of a task for all models.

    Attributes:
        task: The task.
        metric: One of its metrics.
        cells: Numbers by the slug of the model; models without a number are absent.
    """

    task: Task
    metric: Metric
    cells: Mapping[str, Cell]


def cell_of(
    values: Sequence[float], intervals: Sequence[tuple[float, float] | None] = ()
) -> Cell | None:
    """Return mean and sample deviation; None without a value.

    Args:
        values: Value of each seed.
        intervals: Interval of each seed, None for a seed without one.
    """
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    known = [ends for ends in intervals if ends is not None]
    ends = None
    if len(known) == len(values):
        ends = statistics.fmean(low for low, _ in known), statistics.fmean(up for _, up in known)
    return Cell(statistics.fmean(values), std, len(values), interval=ends)


def columns(task: Task, records: Iterable[Record], *, main: bool = False) -> list[Column]:
    """Return the columns of a task.

    Args:
        task: The task.
        records: Records of this task; those of other tasks are ignored.
        main: Whether to return only the columns of the leaderboard.
    """
    done = [r for r in records if r["task"] == task.name and r["status"] == DONE]
    found = []
    for metric in task.metrics:
        if main and not metric.main:
            continue
        runs: dict[str, list[Record]] = {}
        for record in done:
            if metric.key in record["metrics"]:
                runs.setdefault(record["slug"], []).append(record)
        cells = {slug: _cell_of_runs(metric, some) for slug, some in runs.items()}
        if not metric.timed or _on_one_machine(run for some in runs.values() for run in some):
            cells = _mark_best(cells, metric)
        found.append(Column(task, metric, cells))
    return found


def every_column(suite: Suite, records: Sequence[Record]) -> list[Column]:
    """Return the columns of all tasks that have a record, in the suite's order."""
    recorded = {record["task"] for record in records}
    tasks = (task for task in suite.tasks if task.name in recorded)
    return [column for task in tasks for column in columns(task, records)]


def leaderboard(suite: Suite, records: Sequence[Record]) -> list[Column]:
    """Return the main columns of all tasks that have a record, in the suite's order."""
    recorded = {record["task"] for record in records}
    return [
        column
        for task in suite.tasks
        if task.name in recorded
        for column in columns(task, records, main=True)
    ]


def models_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the names of the models by slug, in the order of the records."""
    return {record["slug"]: record["model"]["name"] for record in records}


def models_in_order(some: Iterable[Record], records: Iterable[Record]) -> dict[str, str]:
    """Return the models of some records, in the order of all records, which all tables share."""
    slugs = models_of(some)
    return {slug: name for slug, name in models_of(records).items() if slug in slugs}


def image_limits(records: Iterable[Record]) -> list[int]:
    """Return the ``--limit`` values of quick tries, none for full runs."""
    return sorted({record["limit"] for record in records if record.get("limit") is not None})


def about_task(task: Task, records: Iterable[Record]) -> str:
    """Describe a task with the settings that its runs had.

    Args:
        task: The task, whose text may name settings in braces.
        records: Records of any tasks.
    """
    return filled_in(task.about, (r["protocol"] for r in records if r["task"] == task.name))


def check_one_protocol(records: Iterable[Record]) -> None:
    """Check that all results of a task come from one protocol.

    Args:
        records: Records of any tasks.

    Raises:
        InputError: If two results of a task differ in their protocol or data. The message lists
            the differences.
    """
    first: dict[tuple[str, str, str], Record] = {}
    for record in records:
        if record["status"] != DONE:
            continue
        for group in sorted(protocol_groups(record)):
            other = first.setdefault((record["task"], *group), record)
            if other is not record and (found := result_differences(other, record)):
                raise InputError(
                    f"task {record['task']}: the records of {other['model']['name']} (seed "
                    f"{other['seed']}) and {record['model']['name']} (seed {record['seed']}) are "
                    f"of two protocols: {'; '.join(found)}. Delete those of one, and run again"
                )


def _on_one_machine(records: Iterable[Record]) -> bool:
    """Return whether runs had the same hardware and the same number of runs beside them."""
    machines = []
    for record in records:
        hardware = record.get("hardware") or {}
        machine = (
            record.get("devices"), hardware.get("cpu"), hardware.get("cores"),
            record.get("processes"), record.get("share"),
        )  # fmt: skip
        if machine not in machines:
            machines.append(machine)
    return len(machines) < 2


def _cell_of_runs(metric: Metric, runs: Sequence[Record]) -> Cell:
    values = [metric.scale * run["metrics"][metric.key] for run in runs]
    found = [interval_of(run, metric.key) for run in runs]
    scaled = [None if e is None else (metric.scale * e[0], metric.scale * e[1]) for e in found]
    cell = cell_of(values, scaled)
    assert cell is not None
    return cell


def _mark_best(cells: Mapping[str, Cell], metric: Metric) -> dict[str, Cell]:
    if len(cells) < 2 or metric.better == "neither":
        return dict(cells)
    choose = min if metric.better == "lower" else max
    # Numbers are compared as displayed: a difference that no reader can see decides nothing.
    shown = {
        slug: float(f"{cell.mean:{metric.form}}".replace(",", "")) for slug, cell in cells.items()
    }
    top = choose(shown.values())
    finite = [value for value in shown.values() if math.isfinite(value)] or [0.0]
    spread = max(finite) - min(finite)
    worst = max(finite) if metric.better == "lower" else min(finite)

    def heat(value: float) -> int | None:
        if not spread or not math.isfinite(value):
            return None
        return round(HOTTEST * abs(value - worst) / spread)

    return {
        slug: replace(cell, best=shown[slug] == top, heat=heat(shown[slug]))
        for slug, cell in cells.items()
    }
