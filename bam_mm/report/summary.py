"""From records to tables: mean and deviation over seeds, and which is best."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bam_mm.errors import InputError
from bam_mm.suite.definitions import Metric, Suite, Task
from bam_mm.suite.protocol import differences
from bam_mm.suite.records import DONE

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        mean: Over the seeds.
        std: Of the sample (over n - 1); None for one seed.
        seeds: How many.
        best: Whether no other model's mean is better, where there are others.
    """

    mean: float
    std: float | None
    seeds: int
    best: bool = False

    def text(self, form: str = ".1f") -> str:
        """Such as ``91.5 ± 0.4``."""
        return f"{self.mean:{form}}" + ("" if self.std is None else f" ± {self.std:{form}}")


@dataclass(frozen=True)
class Column:
    """A metric of a task, over all models.

    Attributes:
        task: The task.
        metric: Its metric.
        cells: By model; a model without a number is not in it.
    """

    task: Task
    metric: Metric
    cells: Mapping[str, Cell]


def cell_of(values: Sequence[float]) -> Cell | None:
    """Mean and sample deviation; None without a value."""
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), std, len(values))


def columns(task: Task, records: Iterable[Record], *, main: bool = False) -> list[Column]:
    """Columns of a task.

    Args:
        task: The task.
        records: Of it, and of others.
        main: Whether only those of the leaderboard.
    """
    mine = [r for r in records if r["task"] == task.name and r["status"] == DONE]
    found = []
    for metric in task.metrics:
        if main and not metric.main:
            continue
        values: dict[str, list[float]] = {}
        for record in mine:
            if metric.key in record["metrics"]:
                value = metric.scale * record["metrics"][metric.key]
                values.setdefault(record["slug"], []).append(value)
        cells = {slug: cell for slug, v in values.items() if (cell := cell_of(v)) is not None}
        found.append(Column(task, metric, _mark_best(cells, metric)))
    return found


def leaderboard(suite: Suite, records: Sequence[Record]) -> list[Column]:
    """The main columns of all tasks that have a record, in the suite's order."""
    there = {record["task"] for record in records}
    return [
        column
        for task in suite.tasks
        if task.name in there
        for column in columns(task, records, main=True)
    ]


def models_of(records: Iterable[Record]) -> dict[str, str]:
    """Names of the models by slug, as they come."""
    return {record["slug"]: record["model"]["name"] for record in records}


def check_one_protocol(records: Iterable[Record]) -> None:
    """Stop where results of a task are of several protocols.

    Raises:
        InputError: With what differs.
    """
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        if record["status"] != DONE:
            continue
        other = first.setdefault((record["task"], record["variant"]), record)
        found = differences(other["protocol"], record["protocol"])
        found += [f"data.{line}" for line in differences(other["data"], record["data"])]
        if found:
            raise InputError(
                f"task {record['task']}: the records of {other['model']['name']} (seed "
                f"{other['seed']}) and {record['model']['name']} (seed {record['seed']}) are of "
                f"two protocols: {'; '.join(found)}. Delete those of one, and run again"
            )


def _mark_best(cells: Mapping[str, Cell], metric: Metric) -> dict[str, Cell]:
    if len(cells) < 2:
        return dict(cells)
    choose = min if metric.better == "lower" else max
    # Equal as they are shown: a difference that nobody sees makes no best one.
    shown = {slug: float(f"{cell.mean:{metric.form}}") for slug, cell in cells.items()}
    top = choose(shown.values())
    return {
        slug: Cell(cell.mean, cell.std, cell.seeds, shown[slug] == top)
        for slug, cell in cells.items()
    }
