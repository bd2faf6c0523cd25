"""Intervals of a run's scores, from the scores of its test images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bam_mm.evaluation import UnitScores, bootstrap_intervals
from bam_mm.evaluation.bootstrap import DRAWS, LEVEL, SEED
from bam_mm.protocols.unit_scores import UNITS, UnitTable, read_units

Record = Mapping[str, Any]

METHOD = f"percentile bootstrap, {DRAWS} draws, seed {SEED}"

MIN_UNITS = 10
"""With fewer images or videos there is no interval: the percentile bootstrap is too narrow then."""

TOLERANCE = 1e-4
"""Largest distance of a metric from the score of its units, as a part of the metric's scale.
mmseg rounds to two decimals of a per cent."""


def intervals(folder: Path, metrics: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Compute the intervals of a finished run.

    Args:
        folder: Work folder of the run.
        metrics: Metrics of the run.

    Returns:
        For each metric whose test has kept the scores of the images: the ``interval`` (low, high)
        in the unit of the metric, its ``level`` and ``method``, and the number of ``units`` with
        their ``kind``. If there is no interval, it is None, and ``reason`` is the reason.
    """
    found: dict[str, dict[str, Any]] = {}
    for table in unit_tables(folder):
        scores = {key: s for key, s in table.scores.items() if key in metrics}
        facts = {"units": len(table.names), "kind": table.kind}
        faults = {key: _fault(table, s, metrics[key]) for key, s in scores.items()}
        good = {key: s for key, s in scores.items() if not faults[key]}
        ends = bootstrap_intervals(good)
        for key in scores:
            if key in ends:
                how = {"interval": list(ends[key]), "level": LEVEL, "method": METHOD}
                found[key] = {**how, **facts}
            else:
                found[key] = {"interval": None, "reason": faults[key], **facts}
    return found


def interval_of(record: Record, key: str) -> tuple[float, float] | None:
    """Return the interval of a metric; None for a record that has none.

    Args:
        record: Record of a run, also of a version that computed no intervals.
        key: Key of the metric.
    """
    ends = record.get("intervals", {}).get(key, {}).get("interval")
    return None if ends is None else (ends[0], ends[1])


def unit_tables(folder: Path) -> list[UnitTable]:
    """Read the scores of the images that a run has kept, from its work folder."""
    return [read_units(path) for path in sorted([*folder.glob(UNITS), *folder.glob(f"*/{UNITS}")])]


def agrees(score: UnitScores, metric: float) -> bool:
    """Return whether the scores of the units add up to a metric."""
    return abs(score.value - metric) <= TOLERANCE * score.scale


def _fault(table: UnitTable, score: UnitScores, metric: float) -> str:
    if len(table.names) < MIN_UNITS:
        return f"{len(table.names)} {table.kind}; an interval needs {MIN_UNITS}"
    if not agrees(score, metric):
        return f"the {table.kind} add up to {score.value:.6g}, the metric is {metric:.6g}"
    return ""
