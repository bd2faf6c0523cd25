"""Training curves: reading the logs of a run and plotting them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from bam_mm.errors import InputError
from bam_mm.hooks.reference_curves import QUANTITIES
from bam_mm.protocols.plots import COLOURS, plt, save_figure

Series = Mapping[str, Sequence[tuple[int, float]]]

TEACHER_KNN, STUDENT_KNN = "knn/teacher_top1", "knn/student_top1"


def read_scalars(work_dir: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars that a run logged, including those before it was resumed.

    Args:
        work_dir: Work folder of the run, with mmengine's ``<time>/vis_data/scalars.json``.

    Returns:
        Pairs (step, value) of each scalar, sorted by step. If a resumed run logged a step again,
        the later value is used.

    Raises:
        InputError: If there is no log, or a line of it is damaged.
    """
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    if not files:
        raise InputError(
            f"{work_dir} contains no log (<time>/vis_data/scalars.json): pass the work folder of "
            "a run of bam-mm train"
        )
    series: dict[str, dict[int, float]] = {}
    for file in files:
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
            except ValueError as error:
                if number == len(lines):  # The run was killed while it wrote.
                    break
                raise InputError(
                    f"{file}, line {number}: no entry of a log ({line[:40]!r}); delete this line"
                ) from error
            step = int(entry["step"])
            for name, value in entry.items():
                if isinstance(value, (int, float)) and name not in ("step", "epoch", "iter"):
                    series.setdefault(name, {})[step] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}


def panels_of(curves: Iterable[Collection[str]]) -> list[tuple[str, str]]:
    """Choose the panels of a figure.

    The student's kNN has a panel only if a curve has no teacher's, as those of SimCLR, NNCLR and
    SwAV: for the other methods, the teacher is what downstream tasks use.

    Args:
        curves: Names of the logged quantities, of each curve in the figure.

    Returns:
        Pairs (name in the log, label of the axis), in the order of the figure.
    """
    keys = [set(names) for names in curves]
    with_student = any(STUDENT_KNN in names and TEACHER_KNN not in names for names in keys)
    found = set().union(*keys) - (set() if with_student else {STUDENT_KNN})
    return [(key, label) for key, label in QUANTITIES.items() if key in found]


def plot_runs(runs: Mapping[str, Series], out: str | Path, until: int | None = None) -> Path:
    """Plot loss, entropies (paper, Fig. 3), feature spread and kNN accuracy of several runs.

    Args:
        runs: Scalars of each run, as :func:`read_scalars` returns them, by name of the run.
        out: File to write.
        until: Last iteration to plot; None plots all.

    Returns:
        ``out``.

    Raises:
        InputError: If a run has logged none of these, or nothing until that iteration.
    """
    for name, run in runs.items():
        if not panels_of([[key for key, points in run.items() if points]]):
            raise InputError(
                f"{name} has logged nothing that is drawn, such as loss or kNN: wait until it has "
                "trained for default_hooks.logger.interval iterations, or leave it out"
            )
    first = min((s[0][0] for run in runs.values() for s in run.values() if s), default=0)
    if until is not None and until < first:
        raise InputError(
            f"--until {until}: the first point is at iteration {first}; choose a later one"
        )
    panels = panels_of([key for key, points in run.items() if points] for run in runs.values())
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.0), constrained_layout=True, squeeze=False
    )
    for axis, (key, label) in zip(axes[0], panels, strict=True):
        for (name, run), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            points = [p for p in run.get(key, ()) if until is None or p[0] <= until]
            if points:
                # Without a marker, a single point (of a run stopped early) would be invisible.
                axis.plot(*zip(*points, strict=True), color=colour, label=name, marker=".", ms=3)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    return save_figure(figure, out)
