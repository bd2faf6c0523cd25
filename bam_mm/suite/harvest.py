"""Collect the curves and pictures of a run for its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.suite.definitions import Task

POINTS = 200
"""Maximum number of points of a curve."""

LOGGED = ("loss", "lr")
"""Logged values in a training's curves, in addition to ``loss_*`` and validation metrics."""


def curves(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Read the curves that a task defines.

    Args:
        task: The task.
        folder: Work folder of the run.

    Returns:
        ``labels``, ``log``, ``x`` and ``y`` of each curve that the run has written. ``y`` holds one
        list of values for each panel.
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


def pictures(task: Task, folder: Path, base: Path) -> list[dict[str, str]]:
    """Find the pictures that a run has written.

    Args:
        task: The task.
        folder: Work folder of the run.
        base: Folder to which the returned paths are relative.

    Returns:
        ``path`` and ``caption`` of each picture.
    """
    return [
        {"path": str(path.relative_to(base)), "caption": picture.caption}
        for picture in task.pictures
        for path in sorted(folder.glob(picture.pattern))[: picture.most]
    ]
