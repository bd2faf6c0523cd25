"""Charts and pictures of the report, as plain data."""

from __future__ import annotations

import base64
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.figures.curves import panels_of, read_scalars
from bam_mm.report.chart import Points, drawable
from bam_mm.report.summary import models_of
from bam_mm.report.tables import Data
from bam_mm.suite.harvest import thin
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.records import PICTURES

Record = Mapping[str, Any]

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".svg": "image/svg+xml"}
"""Media types of the pictures that the page can hold."""


def task_charts(done: Sequence[Record], order: Sequence[str]) -> list[Data]:
    """Build the charts of a task: its own curves, then those of its training.

    Args:
        done: Finished records of the task.
        order: Names of all models, which set the colours.
    """
    return [*_evaluation_charts(done, order), *_training_charts(done, order)]


def task_pictures(done: Sequence[Record], folder: Path) -> list[Data]:
    """Collect the pictures that a task left, of each model's first seed.

    Args:
        done: Finished records of the task.
        folder: Work folder of the benchmark.
    """
    return _pictures(
        (
            folder / entry["path"],
            f"{r['model']['name']}, seed {r['seed']}: {entry['caption']} "
            f"({entry.get('name') or Path(entry['path']).stem})",
            entry.get("classes") or {},
        )
        for r in _first_seeds(done)
        for entry in r.get("pictures", ())
    )


def pretraining_charts(records: Sequence[Record]) -> list[Data]:
    """Build charts from the pretraining logs that lie next to the models' checkpoints.

    The records of a suite that pretrains hold the logs, without the kNN accuracy, which
    :mod:`bam_mm.report.methods` draws.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    seen = set()
    for record in records:
        path = (record.get("checkpoint") or {}).get("path", "")
        if record["slug"] in seen or record["model"]["kind"] != "bam" or not path:
            continue
        if record["model"].get("method") and record["kind"] != PRETRAIN:
            continue
        seen.add(record["slug"])
        try:
            recorded = record["kind"] == PRETRAIN
            scalars = record["training"] if recorded else read_scalars(Path(path).parent)
        except (InputError, OSError, ValueError):
            continue
        name = record["model"]["name"]
        found[name] = {key: points for key, points in scalars.items() if points}
    order = list(models_of(records).values())
    charts = [
        _chart(
            {name: thin(run[key]) for name, run in found.items() if key in run},
            "iteration",
            label,
            order=order,
        )
        for key, label in panels_of(found.values())
    ]
    return [chart for chart in charts if chart]


def gallery(folder: Path) -> list[Data]:
    """Collect the pictures in ``pictures/`` of the work folder; the file names are the captions."""
    paths = sorted((folder / PICTURES).glob("*.*"))
    return _pictures((path, path.stem.replace("_", " "), {}) for path in paths)


def _evaluation_charts(done: Sequence[Record], order: Sequence[str]) -> list[Data]:
    """One chart per panel of the task's own curves; a line is the mean over a model's seeds.

    A curve with several lines has a chart for each model.
    """
    panels: dict[tuple[str, str, bool], dict[str, list[Points]]] = {}
    for record in done:
        for curve in record.get("curves", ()):
            x_label, *labels = curve["labels"]
            model = record["model"]["name"]
            for label, values in zip(labels, curve["y"], strict=True):
                if "line" in curve:
                    label = f"{model}: {label}"
                lines = panels.setdefault((x_label, label, curve["log"]), {})
                points = list(zip(curve["x"], values, strict=True))
                lines.setdefault(curve.get("line", model), []).append(points)
    charts = []
    for (x_label, label, log), lines in panels.items():
        means = {name: _mean(curves) for name, curves in lines.items()}
        charts.append(_chart(means, x_label, label, order=order, log=log))
    return [chart for chart in charts if chart]


def _training_charts(done: Sequence[Record], order: Sequence[str]) -> list[Data]:
    """Loss and validation metrics of the training, for each model's first seed."""
    names = sorted({name for r in done for name in r.get("training") or ()})
    charts = []
    for name in names:
        if name != "loss" and "/" not in name:
            continue
        lines = {
            r["model"]["name"]: r["training"][name]
            for r in _first_seeds(done)
            if name in (r.get("training") or ())
        }
        if all(len(line) < 2 for line in lines.values()):
            continue  # The table holds the only number.
        step = "iteration" if name == "loss" else "epoch or iteration"
        charts.append(_chart(lines, step, f"{name} while training", order=order))
    return [chart for chart in charts if chart]


def _chart(
    series: Mapping[str, Points],
    x_label: str,
    y_label: str,
    *,
    order: Sequence[str],
    log: bool = False,
) -> Data | None:
    """The arguments of :func:`~bam_mm.report.chart.line_chart`; None if nothing can be drawn."""
    lines = drawable(series, log=log)
    if not lines:
        return None
    labels = {"x_label": x_label, "y_label": y_label}
    return {"series": lines, **labels, "log": log, "order": list(order)}


def _pictures(files: Iterable[tuple[Path, str, Mapping[str, str]]]) -> list[Data]:
    """The entries of image files with their captions and the colours of their classes.

    Missing and unknown files are left out, and what is no colour is.
    """
    pictures = []
    for path, caption, classes in files:
        media = MEDIA.get(path.suffix.lower())
        if media is not None and path.is_file():
            content = base64.b64encode(path.read_bytes()).decode()
            colours = {name: c for name, c in classes.items() if re.fullmatch("#[0-9a-f]{6}", c)}
            picture = {"media": media, "base64": content, "caption": caption, "classes": colours}
            pictures.append(picture)
    return pictures


def _first_seeds(done: Sequence[Record]) -> list[Record]:
    first: dict[str, Record] = {}
    for record in sorted(done, key=lambda r: r["seed"]):
        first.setdefault(record["slug"], record)
    return [record for record in done if first[record["slug"]] is record]


def _mean(curves: Sequence[Points]) -> Points:
    """The mean of curves over the same x; the first curve if their x differ."""
    places = [[x for x, _ in points] for points in curves]
    if any(x != places[0] for x in places):
        return curves[0]
    heights = zip(*([y for _, y in points] for points in curves), strict=True)
    return list(zip(places[0], (statistics.fmean(y) for y in heights), strict=True))
