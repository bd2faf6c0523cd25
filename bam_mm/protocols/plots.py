"""Plots of the protocols' results, and helpers for all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from bam_mm.evaluation.clustering import ClusterScore

matplotlib.use("Agg")  # Works without a display.
import matplotlib.pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's palette: distinguishable with any colour vision."""


def plot_penalties(
    penalties: Sequence[float],
    val_scores: Sequence[float],
    chosen: float,
    label: str,
    out: str | Path,
) -> Path:
    """Plot the validation score over the penalty and mark the chosen penalty.

    Args:
        penalties: Penalties in ascending order.
        val_scores: Validation score of each penalty in 0 to 1.
        chosen: The chosen penalty, one of ``penalties``.
        label: Name of the metric on the axis.
        out: File to write.

    Returns:
        ``out``.
    """
    figure, axis = plt.subplots(figsize=(5.2, 3.4), constrained_layout=True)
    axis.semilogx(penalties, 100 * np.array(val_scores), color=COLOURS[0], marker=".")
    best = 100 * val_scores[list(penalties).index(chosen)]
    axis.axvline(chosen, color=COLOURS[1], linestyle="--", label=f"chosen: {chosen:.3g}")
    axis.plot([chosen], [best], color=COLOURS[1], marker="o")
    axis.set_xlabel("L2 penalty (scikit-learn's 1 / C)")
    axis.set_ylabel(f"{label} on validation images (%)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return save_figure(figure, out)


def plot_clustering(curve: Mapping[int, Sequence[ClusterScore]], out: str | Path) -> Path:
    """Plot NMI and ARI over the number of classes, with a dot for each draw (paper, Fig. 7).

    Args:
        curve: Scores of the draws, by number of classes.
        out: File to write.

    Returns:
        ``out``.
    """
    counts = sorted(curve)
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.2), constrained_layout=True, sharex=True)
    for axis, name, colour in zip(axes, ("nmi", "ari"), COLOURS, strict=False):
        values = [[100 * getattr(s, name) for s in curve[n]] for n in counts]
        means = np.array([np.mean(v) for v in values])
        stds = np.array([np.std(v) for v in values])
        axis.plot(counts, means, color=colour, marker="o", label="mean")
        axis.fill_between(counts, means - stds, means + stds, color=colour, alpha=0.2, label="std")
        for n, draws in zip(counts, values, strict=True):
            axis.plot([n] * len(draws), draws, ".", color=colour, alpha=0.35, ms=4)
        axis.set_title(f"{name.upper()} (%)", fontsize=10)
        axis.set_xlabel("classes")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return save_figure(figure, out)


def save_figure(figure, out: str | Path) -> Path:
    """Save a matplotlib figure, creating the folder if needed, and close it."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out
