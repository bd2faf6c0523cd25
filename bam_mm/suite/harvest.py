"""Collect the metrics, intervals, curves and pictures of a run for its record."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bam_mm.checkpoint import read_proof
from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.figures.predictions import read_classes
from bam_mm.launch.run_facts import read_facts
from bam_mm.suite.definitions import Task
from bam_mm.suite.intervals import intervals
from bam_mm.suite.planning import Run
from bam_mm.suite.records import read_json

POINTS = 200
"""Maximum number of points of a curve."""

LOGGED = ("loss", "lr")
"""Logged values in a training's curves, in addition to ``loss_*`` and validation metrics."""


class RunFailed(Exception):
    """A failure of a run; its message goes into the record."""


def collect(run: Run, record: dict[str, Any], metrics_file: Path) -> None:
    """Add what a finished run has written to its record.

    Args:
        run: The run.
        record: Record, extended in place.
        metrics_file: File with the metrics that ``bam-mm test --out`` has written.

    Raises:
        RunFailed: If a metric is missing or not finite, or if the weights were not proven to be
            loaded.
    """
    metrics = read_json(metrics_file) or {}
    wanted = [m.key for m in run.task.metrics if not _needs_more_classes(m.key, metrics)]
    absent = [key for key in wanted if key not in metrics]
    if absent and run.settings.limit is None:
        raise RunFailed(f"no metric {', '.join(absent)}; available: {', '.join(metrics) or 'none'}")
    wrong = [key for key in wanted if key in metrics and not math.isfinite(metrics[key])]
    if wrong:
        raise RunFailed(f"{', '.join(wrong)} is not a finite number")
    proof = read_proof(run.folder)
    if run.model.trained and (proof is None or proof["file_sha256"] != run.model.sha256):
        raise RunFailed(
            f"{run.model.checkpoint} was not proven to be loaded"
            + (": the file has changed since the start" if proof else "")
        )
    parts = [read_facts(run.folder, part) for part in ("train", "test")]
    memory = {
        key: max((facts[key] for facts in parts if facts.get(key) is not None), default=None)
        for key in ("peak_mb", "peak_gpu_mb")
    }
    record.update(
        metrics=metrics,
        intervals=intervals(run.folder, metrics),
        proof=proof,
        checkpoint={"path": run.model.checkpoint, "sha256": run.model.sha256},
        processes=parts[1].get("processes"),
        devices=parts[1].get("devices"),
        precision=parts[1].get("precision"),
        preprocessing=parts[1].get("preprocessing"),
        loaders={**(parts[0].get("loaders") or {}), **(parts[1].get("loaders") or {})},
        size=parts[1].get("size"),
        cost=parts[1].get("cost"),
        memory=memory,
        curves=curves(run.task, run.folder),
        chosen=chosen_setting(run.folder),
        training=training_curves(run.folder) if run.task.kind == "train" else {},
        pictures=pictures(run.task, run.folder, run.settings.folder),
    )


def _needs_more_classes(key: str, metrics: Mapping[str, Any]) -> bool:
    """Return whether a top-k accuracy was left out, as it is with fewer than k classes."""
    group, _, name = key.rpartition("/")
    return (
        key not in metrics
        and re.fullmatch(r"top\d+", name) is not None
        and name != "top1"
        and f"{group}/top1" in metrics
    )


def curves(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Read the curves that a task defines.

    Args:
        task: The task.
        folder: Work folder of the run.

    Returns:
        ``labels``, ``log``, ``x`` and ``y`` of each curve that the run has written. ``y`` holds one
        list of values for each panel. Each line of a curve with several is an entry, with its name
        under ``line``.
    """
    found = []
    for curve in task.curves:
        path = folder / curve.file
        if not path.is_file():
            continue
        every = json.loads(path.read_text())
        keys = [key for key in (curve.x, *curve.y, curve.lines) if key]
        if not all(key in row for row in every for key in keys):
            continue
        names = dict.fromkeys(row[curve.lines] if curve.lines else "" for row in every)
        for name in names:
            rows = [row for row in every if not curve.lines or row[curve.lines] == name]
            found.append(
                {
                    "labels": list(curve.labels),
                    "log": curve.log,
                    "x": [row[curve.x] for row in rows],
                    "y": [[curve.scale * row[key] for row in rows] for key in curve.y],
                    **({"line": str(name)} if curve.lines else {}),
                }
            )
    return found


def chosen_setting(folder: Path) -> dict[str, Any]:
    """Read the setting that a run has chosen on validation images, by the names of its parts.

    Args:
        folder: Work folder of the run.

    Returns:
        What ``probes/chosen.json`` holds; empty if the run had nothing to choose.
    """
    return read_json(folder / "probes/chosen.json") or {}


def training_curves(folder: Path) -> dict[str, list[list[float]]]:
    """Read the losses, learning rate and validation metrics of a training.

    Args:
        folder: Work folder of the run.

    Returns:
        (step, value) pairs by name, at most :data:`POINTS` each.
    """
    try:
        series = read_scalars(folder)
    except InputError:
        return {}
    return {
        name: thin(points)
        for name, points in series.items()
        if name in LOGGED or name.startswith("loss_") or "/" in name
    }


def thin(points: list[tuple[int, float]], most: int = POINTS) -> list[list[float]]:
    """Average groups of neighbouring points.

    Args:
        points: (step, value) pairs in ascending order.
        most: Maximum number of points to return.

    Returns:
        The last step and the mean value of each group.
    """
    step = -(-len(points) // most)
    groups = [points[i : i + step] for i in range(0, len(points), step)] if points else []
    return [[g[-1][0], sum(value for _, value in g) / len(g)] for g in groups]


def pictures(task: Task, folder: Path, base: Path) -> list[dict[str, Any]]:
    """Find the pictures that a run has written.

    Args:
        task: The task.
        folder: Work folder of the run.
        base: Folder to which the returned paths are relative.

    Returns:
        ``path`` and ``caption`` of each picture, its ``name``, and its ``classes``, each with a
        colour, if the file has them.
    """
    return [
        {
            "path": str(path.relative_to(base)),
            "caption": picture.caption,
            "name": path.stem,
            "classes": read_classes(path),
        }
        for picture in task.pictures
        for path in sorted(folder.glob(picture.pattern))[: picture.most]
    ]
