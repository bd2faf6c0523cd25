"""Accuracy of pretraining methods over epochs, and over time, as charts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bam_mm.report.chart import Points
from bam_mm.report.summary import models_of
from bam_mm.report.tables import Data
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.records import DONE

Record = Mapping[str, Any]

ABOUT = (
    "kNN on frozen features during pretraining, of the teacher where a method has one; a line is "
    "the mean over the seeds. Time is that of the training alone, without kNN and checkpoints. "
    "Compare times only of runs on one machine with one load."
)


def method_charts(records: Sequence[Record]) -> Data | None:
    """Build the charts of online kNN over epochs and over minutes of training.

    Args:
        records: Records of a suite's tasks.

    Returns:
        ``about``, a text, and ``charts``; None if no pretraining was scored.
    """
    done = [r for r in records if r["kind"] == PRETRAIN and r["status"] == DONE]
    order = list(models_of(records).values())
    rows: dict[str, list[Sequence[Sequence[float]]]] = {}
    for record in done:
        measured = record["pretraining"]
        if found := measured["knn"].get(measured["branch"]):
            rows.setdefault(record["model"]["name"], []).append(found)
    means = {name: mean_rows(seeds) for name, seeds in rows.items()}
    if not any(means.values()):
        return None
    epochs = {name: [[epoch, top1] for epoch, _, top1 in mean] for name, mean in means.items()}
    minutes = {name: [[time / 60, top1] for _, time, top1 in mean] for name, mean in means.items()}
    return {
        "about": ABOUT,
        "charts": [
            _chart(epochs, "epochs", order),
            _chart(minutes, "minutes of training", order),
        ],
    }


def mean_rows(seeds: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Average the rows (epoch, seconds, accuracy) of several seeds.

    Args:
        seeds: Rows of each seed.

    Returns:
        The mean row of each epoch that all seeds have.
    """
    by_epoch = [{row[0]: row for row in rows} for rows in seeds]
    shared = sorted(set.intersection(*(set(rows) for rows in by_epoch)))
    return [
        [statistics.fmean(values) for values in zip(*(rows[e] for rows in by_epoch), strict=True)]
        for e in shared
    ]


def _chart(series: Mapping[str, Points], x_label: str, order: Sequence[str]) -> Data:
    label = f"online kNN top-1 (%) over {x_label}"
    lines = {name: list(points) for name, points in series.items()}
    labels = {"x_label": x_label, "y_label": label}
    return {"series": lines, **labels, "log": False, "order": list(order)}
