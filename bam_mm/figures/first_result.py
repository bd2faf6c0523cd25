"""First figure of the demo: the effect of pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from bam_mm.protocols.plots import COLOURS, plt, save_figure


def plot_first_result(
    scores: Mapping[str, float],
    curve: Sequence[tuple[int, float]],
    queries: np.ndarray,
    neighbours: Mapping[str, np.ndarray],
    correct: Mapping[str, np.ndarray],
    out: str | Path,
) -> Path:
    """Plot the effect of pretraining: accuracies, the kNN curve and nearest neighbours.

    Args:
        scores: kNN top-1 accuracy in per cent, by feature.
        curve: Pairs (iteration, kNN top-1 accuracy of the teacher in per cent).
        queries: Query images (Q, H, W, 3) uint8.
        neighbours: Neighbours (Q, K, H, W, 3) uint8 of the queries, nearest first, by feature.
        correct: Whether each neighbour has the query's class (Q, K) bool, by feature.
        out: File to write.

    Returns:
        ``out``.
    """
    figure = plt.figure(figsize=(12, 6.2), constrained_layout=True)
    left, right = cast(np.ndarray, figure.subfigures(1, 2, width_ratios=(1, 2.1)))
    bars, line = left.subplots(2, 1)
    names = list(scores)
    drawn = bars.barh(names, [scores[n] for n in names], color=COLOURS[: len(names)])
    bars.bar_label(drawn, fmt="%.1f", padding=3, fontsize=9)
    bars.invert_yaxis()
    bars.set_xlim(0, 109)
    bars.set_title("kNN top-1 on validation images (%)", fontsize=10)
    line.plot(*zip(*curve, strict=True), color=COLOURS[0], marker=".")
    line.set_title("teacher during training (%)", fontsize=10)
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
    right.suptitle("green frame: same class as the query; red, dashed: another class", fontsize=9)
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
