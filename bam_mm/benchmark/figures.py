"""Figures for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # No display is needed, or asked for.
import matplotlib.pyplot as plt

Series = Mapping[str, Sequence[tuple[int, float]]]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's palette: told apart with any colour vision."""

PANELS = (
    ("loss", "loss (nats)"),
    ("attention_entropy", "entropy of the attention (nats)"),
    ("target_entropy", "entropy of the target (nats)"),
    ("feature_std", "feature std (1 = spread evenly)"),
    ("knn/teacher_top1", "kNN top-1, teacher (%)"),
)


def plot_runs(runs: Mapping[str, Series], out: str | Path, until: int | None = None) -> Path:
    """Draw the curves of one or several runs: loss, entropies (paper Fig. 3), spread, kNN.

    Args:
        runs: Scalars of each run by its name, as
            :func:`~bam_mm.benchmark.training_log.read_scalars` gives them.
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


def plot_first_result(
    scores: Mapping[str, float],
    curve: Sequence[tuple[int, float]],
    queries: np.ndarray,
    neighbours: Mapping[str, np.ndarray],
    correct: Mapping[str, np.ndarray],
    out: str | Path,
) -> Path:
    """Draw what pretraining bought: accuracies, the kNN curve, and nearest neighbours.

    Args:
        scores: kNN top-1 in per cent, by feature.
        curve: (iteration, kNN top-1 of the teacher).
        queries: (Q, H, W, 3) uint8.
        neighbours: By feature, (Q, K, H, W, 3) uint8, the nearest first.
        correct: By feature, (Q, K) bool, whether the neighbour has the query's class.
        out: File to write.

    Returns:
        ``out``.
    """
    figure = plt.figure(figsize=(12, 6.2), constrained_layout=True)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.1))
    bars, line = left.subplots(2, 1)
    names = list(scores)
    # The order of COLOURS follows the names, so a bar and its neighbours' title agree.
    drawn = bars.barh(names, [scores[n] for n in names], color=COLOURS[: len(names)])
    bars.bar_label(drawn, fmt="%.1f", padding=3, fontsize=9)
    bars.invert_yaxis()
    bars.set_xlim(0, 109)
    bars.set_title("kNN top-1 on validation images (%)", fontsize=10)
    line.plot(*zip(*curve, strict=True), color=COLOURS[0], marker=".")
    line.set_title("the teacher while it trains (%)", fontsize=10)
    line.set_xlabel("iteration", fontsize=9)
    line.grid(alpha=0.3)
    per_feature = next(iter(neighbours.values())).shape[1]
    columns = 1 + len(neighbours) * per_feature
    grid = right.subplots(len(queries), columns)
    for row, query in enumerate(queries):
        _tile(grid[row, 0], query, None)
        for group, feature in enumerate(neighbours):
            for n in range(per_feature):
                axis = grid[row, 1 + group * per_feature + n]
                _tile(axis, neighbours[feature][row, n], bool(correct[feature][row, n]))
    grid[0, 0].set_title("query", fontsize=9)
    for group, feature in enumerate(neighbours):
        middle = 1 + group * per_feature + per_feature // 2
        grid[0, middle].set_title(f"nearest by {feature}", fontsize=9)
    right.suptitle("green frame: the query's class, red and dashed: another", fontsize=9)
    return save_figure(figure, out)


def _tile(axis, image: np.ndarray, correct: bool | None) -> None:
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(correct is not None)
        spine.set_color("#009e73" if correct else "#d55e00")
        spine.set_linestyle("-" if correct else "--")
        spine.set_linewidth(2.5)


def save_figure(figure, out: str | Path) -> Path:
    """Write a figure, making its folder, and let go of it."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out
