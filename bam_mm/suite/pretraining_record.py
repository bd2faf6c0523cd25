"""What a finished pretraining has logged, for its record: accuracy over time, speed and memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bam_mm.checkpoint import file_digest, newest_checkpoint
from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.hooks.training_clock import EPOCH, MEMORY, SECONDS
from bam_mm.launch.run_facts import read_facts
from bam_mm.suite.harvest import RunFailed, thin
from bam_mm.suite.planning import Run
from bam_mm.suite.pretraining import backbone_parameters

LOGGED = ("loss", "lr", "attention_entropy", "target_entropy", "feature_std")
"""Logged values in the record, in addition to ``loss_*``."""

BRANCHES = ("teacher", "student")
"""Branches that the online kNN scores, first the one that the other tasks evaluate."""

Points = Sequence[tuple[int, float]]
"""(step, value) pairs."""


def collect_pretraining(run: Run, record: dict[str, Any]) -> None:
    """Add what a finished pretraining has written to its record.

    Args:
        run: The run.
        record: Record, extended in place.

    Raises:
        RunFailed: If there is no checkpoint, or a metric is not finite.
    """
    path, _ = newest_checkpoint(run.folder)
    if path is None:
        raise RunFailed(f"the pretraining saved no checkpoint in {run.folder}")
    try:
        series: Mapping[str, Points] = read_scalars(run.folder)
    except InputError:
        series = {}
    facts = read_facts(run.folder, "train")
    memory = peak_memory(series, facts)
    measured = measurements(series, batch=images_a_step(facts))
    metrics = {
        "knn/top1": measured["knn"][measured["branch"]][-1][2] if measured["knn"] else None,
        "images_per_s": measured["images_per_s"],
        "minutes": measured["seconds"] / 60 if measured["seconds"] else None,
        "memory_mb": memory["peak_gpu_mb"] or memory["peak_mb"],
        "seconds_per_epoch": measured["seconds_per_epoch"],
        "parameters": backbone_parameters(run.model),
    }
    metrics = {key: value for key, value in metrics.items() if value is not None}
    wrong = [key for key, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise RunFailed(f"{', '.join(wrong)} is not a finite number")
    record.update(
        metrics=metrics,
        pretraining=measured,
        training={
            name: thin(list(points))
            for name, points in series.items()
            if name in LOGGED or name.startswith("loss_")
        },
        checkpoint={
            "path": str(path),
            "file": str(path.relative_to(run.settings.folder)),
            "sha256": file_digest(path),
        },
        proof=None,
        processes=facts.get("processes"),
        devices=facts.get("devices"),
        precision=facts.get("precision"),
        loaders=facts.get("loaders"),
        memory=memory,
        curves=[],
        pictures=[],
    )


def peak_memory(series: Mapping[str, Points], facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the peak memory over all starts of a training, in MiB.

    A start that was killed has left no facts, and the last one may have trained no step.

    Args:
        series: Scalars of the log by name, with mmengine's ``memory`` of the GPU and that of
            :class:`~bam_mm.hooks.training_clock.TrainingClockHook`.
        facts: Facts that the last start has written.

    Returns:
        ``peak_mb`` of the process and ``peak_gpu_mb``; None for what was not measured.
    """
    logged = {"peak_mb": MEMORY, "peak_gpu_mb": "memory"}
    found = {}
    for key, name in logged.items():
        values = [value for _, value in series.get(name, ())]
        if facts.get(key) is not None:
            values.append(facts[key])
        found[key] = max(values, default=None)
    return found


def images_a_step(facts: Mapping[str, Any]) -> int | None:
    """Return the number of images that a training has read in one step, over all processes.

    Args:
        facts: Facts that the training has written. The config may name a larger batch than there
            are images.
    """
    batch = (facts.get("loaders") or {}).get("train", {}).get("batch")
    return None if batch is None else batch * facts["processes"]


def measurements(series: Mapping[str, Points], *, batch: int | None) -> dict[str, Any]:
    """Compute accuracy over epochs and time, and speed, from the log of a pretraining.

    Args:
        series: Scalars of the log by name, see :func:`~bam_mm.figures.curves.read_scalars`, with
            those of :class:`~bam_mm.hooks.training_clock.TrainingClockHook`.
        batch: Number of images in one step, over all processes.

    Returns:
        ``knn``: for each scored branch, rows of epoch, seconds of training and top-1 accuracy in
        per cent; ``branch``: that of the two which counts, ``""`` for none; ``epochs`` and
        ``seconds`` of training; ``seconds_per_epoch`` and ``images_per_s``, medians over the
        epochs. What the log does not tell is None.
    """
    clock, epoch = dict(series.get(SECONDS, ())), dict(series.get(EPOCH, ()))
    # Before the first step, the untrained network may have been scored.
    clock.setdefault(0, 0.0)
    epoch.setdefault(0, 0.0)
    knn = {
        branch: [
            [epoch[step], clock[step], top1]
            for step, top1 in series.get(f"knn/{branch}_top1", ())
            if step in clock and step in epoch
        ]
        for branch in BRANCHES
    }
    knn = {branch: rows for branch, rows in knn.items() if rows}
    steps = sorted(clock)
    times = [clock[b] - clock[a] for a, b in pairwise(steps)]
    counts = [b - a for a, b in pairwise(steps)]
    speeds = [n / t for n, t in zip(counts, times, strict=True) if t > 0]
    return {
        "knn": knn,
        "branch": next(iter(knn), ""),
        "epochs": epoch[steps[-1]] if times else None,
        "seconds": clock[steps[-1]] if times else None,
        "seconds_per_epoch": statistics.median(times) if times else None,
        "images_per_s": batch * statistics.median(speeds) if batch and speeds else None,
    }
