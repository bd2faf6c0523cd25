"""What a run leaves to be drawn and looked at, taken into its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.suite.definitions import Task

POINTS = 200
"""Of a curve at most."""

LOGGED = ("loss", "lr")
"""Prefixes of what is drawn of a training, besides validation metrics."""


def curves(task: Task, folder: Path) -> list[dict[str, Any]]:
    """The task's own curves.

    Args:
        task: The task.
        folder: Of the run.

    Returns:
        Of each curve that is there ``labels``, ``log``, ``x`` and ``y``, a list a panel.
    """
    found = []
    for curve in task.curves:
        path = folder / curve.file
        if not path.is_file():
            continue
        rows = json.loads(path.read_text())
        if not all(key in row for row in rows for key in (curve.x, *curve.y)):
            continue
        found.append(
            {
                "labels": list(curve.labels),
                "log": curve.log,
                "x": [row[curve.x] for row in rows],
                "y": [[curve.scale * row[key] for row in rows] for key in curve.y],
            }
        )
    return found


def training_curves(folder: Path) -> dict[str, list[list[float]]]:
    """Loss, learning rate and validation metrics of a training, thinned out.

    Args:
        folder: Of the run.

    Returns:
        By name the (step, value) pairs, :data:`POINTS` at most.
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
    """Means of neighbouring points, so that not more than ``most`` are left."""
    step = -(-len(points) // most)
    groups = [points[i : i + step] for i in range(0, len(points), step)] if points else []
    return [[g[-1][0], sum(value for _, value in g) / len(g)] for g in groups]


def pictures(task: Task, folder: Path, base: Path) -> list[dict[str, str]]:
    """The pictures that a run left.

    Args:
        task: The task.
        folder: Of the run.
        base: Paths are given below it.
    """
    return [
        {"path": str(path.relative_to(base)), "caption": picture.caption}
        for picture in task.pictures
        for path in sorted(folder.glob(picture.pattern))[: picture.most]
    ]
