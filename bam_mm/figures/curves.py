"""Curves of a training: reading what a run logged, and drawing it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bam_mm.errors import InputError
from bam_mm.protocols.plots import COLOURS, plt, save_figure

Series = Mapping[str, Sequence[tuple[int, float]]]

PANELS = (
    ("loss", "loss (nats)"),
    ("attention_entropy", "entropy of the attention (nats)"),
    ("target_entropy", "entropy of the target (nats)"),
    ("feature_std", "feature std (1 = spread evenly)"),
    ("knn/teacher_top1", "kNN top-1, teacher (%)"),
)


def read_scalars(work_dir: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Collect the scalars of a run, over all its starts.

    Args:
        work_dir: Folder of the run; mmengine writes ``<time>/vis_data/scalars.json`` in it.

    Returns:
        For each name the (step, value) pairs in the order of their steps; where a resumed run
        logged a step again, the later value counts.

    Raises:
        InputError: If there is no log.
    """
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    if not files:
        raise InputError(
            f"{work_dir} holds no log (<time>/vis_data/scalars.json): name the work folder of a "
            "run of tools/train.py"
        )
    series: dict[str, dict[int, float]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            step = int(entry["step"])
            for name, value in entry.items():
                if isinstance(value, (int, float)) and name not in ("step", "epoch", "iter"):
                    series.setdefault(name, {})[step] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}


def plot_runs(runs: Mapping[str, Series], out: str | Path, until: int | None = None) -> Path:
    """Draw the curves of one or several runs: loss, entropies (paper Fig. 3), spread, kNN.

    Args:
        runs: Scalars of each run by its name, as
            :func:`read_scalars` gives them.
        out: File to write.
        until: Last iteration to draw; None for all.

    Returns:
        ``out``.
    """
    panels = [p for p in PANELS if any(run.get(p[0]) for run in runs.values())]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.0), constrained_layout=True, squeeze=False
    )
    for axis, (key, label) in zip(axes[0], panels, strict=True):
        for (name, run), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            points = [p for p in run.get(key, ()) if until is None or p[0] <= until]
            if points:
                # One point (a run stopped early) would be invisible as a line.
                axis.plot(*zip(*points, strict=True), color=colour, label=name, marker=".", ms=3)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    return save_figure(figure, out)
