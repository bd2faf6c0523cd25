"""Pretraining runs over reference curves: the figure, and where a run stands, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bam_mm.errors import InputError
from bam_mm.figures.curves import panels_of
from bam_mm.figures.recorded_runs import RecordedRun
from bam_mm.hooks.reference_curves import QUANTITIES, Band, ReferenceCurves
from bam_mm.protocols.plots import COLOURS, plt, save_figure

STYLES = ("--", ":", "-.")
"""Lines of the references."""

GREYS = ("#555555", "#8a6d3b", "#3f5f8a", "#6b4f8a")
"""Colours of the references; runs have brighter ones."""

OF_THE_BATCH = ("loss", "attention_entropy", "target_entropy")
"""Quantities whose values depend on the number of images of a batch."""


def plot_against(
    runs: Sequence[RecordedRun],
    references: Mapping[str, ReferenceCurves],
    out: str | Path,
    until: int | None = None,
) -> Path:
    """Plot runs over epochs, above the mean and the range of reference curves.

    Args:
        runs: The runs.
        references: The references by name.
        out: File to write.
        until: Last iteration of the runs to plot; None plots all.

    Returns:
        ``out``.

    Raises:
        InputError: If the runs logged nothing until then, or no quantity of the references.
    """
    shown = _panels(runs, references)
    if not shown:
        raise InputError(
            f"{', '.join(str(run.folder) for run in runs)}: nothing logged that the references "
            f"{', '.join(references)} hold; wait for the first lines of the log, or draw the runs "
            "without --against"
        )
    if until is not None and not any(_points(run, key, until) for run in runs for key, _ in shown):
        raise InputError(f"--until {until}: the runs have no point until then; choose a later one")
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3.4 * len(shown), 3.4), constrained_layout=True, squeeze=False
    )
    for axis, (key, label) in zip(axes[0], shown, strict=True):
        for number, (name, reference) in enumerate(references.items()):
            if key in reference.series:
                _draw_band(axis, reference.series[key], f"{name} ({_seeds(reference)})", number)
        for number, run in enumerate(runs):
            if points := _points(run, key, until):
                colour = COLOURS[number % len(COLOURS)]
                # Without a marker, a single point would be invisible.
                axis.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    label=run.name,
                    marker=".",
                    ms=3,
                    lw=1.2,
                )
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    # A panel may lack a run or a reference, and long names would cover the curves.
    entries = {
        label: line
        for axis in axes[0]
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(entries.values()), list(entries), fontsize=8, loc="outside lower center",
        ncols=min(4, len(entries)), frameon=False,
    )  # fmt: skip
    return save_figure(figure, out)


def compare(run: RecordedRun, name: str, reference: ReferenceCurves) -> list[str]:
    """Describe where a run stands, one line for each quantity of the reference.

    Args:
        run: The run. Of the loss, the entropies and the spread, its mean over the last interval of
            the reference's points counts, of kNN accuracies the last value.
        name: Name of the reference.
        reference: The reference.

    Returns:
        A heading, one line a quantity, such as ``kNN top-1, teacher (%): 31.2 at epoch 4, reference
        30.5 to 33.0: inside``, and what else differs between the two trainings.
    """
    lines = [f"{run.name} against {name} ({reference.title}):"]
    for key, band in reference.series.items():
        lines.append(f"  {QUANTITIES[key]}: {_position(run.epochs_of(key), key, band, reference)}")
    return lines + [f"  note: {note}" for note in _notes(run, reference)]


def _panels(
    runs: Sequence[RecordedRun], references: Mapping[str, ReferenceCurves]
) -> list[tuple[str, str]]:
    """Return the panels for which there is both a run and a reference."""
    drawn = [{key for key in QUANTITIES if run.epochs_of(key)} for run in runs]
    held = [set(reference.series) for reference in references.values()]
    both = set().union(*drawn) & set().union(*held)
    return [panel for panel in panels_of(drawn + held) if panel[0] in both]


def _points(run: RecordedRun, key: str, until: int | None) -> list[tuple[float, float]]:
    last = math.inf if until is None else until / run.iterations
    return [point for point in run.epochs_of(key) if point[0] <= last]


def _draw_band(axis, band: Band, label: str, number: int) -> None:
    colour, style = GREYS[number % len(GREYS)], STYLES[number % len(STYLES)]
    axis.fill_between(band.epoch, band.low, band.high, color=colour, alpha=0.25, lw=0)
    axis.plot(band.epoch, band.mean, color=colour, linestyle=style, lw=1.2, label=label)


def _seeds(reference: ReferenceCurves) -> str:
    return f"{reference.seeds} seeds" if reference.seeds > 1 else "one seed"


def _position(
    points: list[tuple[float, float]], key: str, band: Band, reference: ReferenceCurves
) -> str:
    if not points:
        return "not logged yet"
    within = [(x, y) for x, y in points if band.at(x) is not None]
    if not within:
        return (
            f"no point between epochs {band.epoch[0]:.3g} and {band.epoch[-1]:.3g}, where the "
            "reference has values"
        )
    epoch = within[-1][0]
    width = 0.0 if key.startswith("knn/") else band.spacing
    recent = [(x, y) for x, y in within if x > epoch - width or x == epoch]
    value = float(np.mean([y for _, y in recent]))
    found = band.at(float(np.mean([x for x, _ in recent])))
    assert found is not None  # Between two points that have values.
    mean, low, high = found
    ended = ", the end of the reference" if points[-1][0] > epoch else ""
    where = f"{value:.4g} at epoch {epoch:.3g}{ended}, reference "
    if reference.seeds == 1:
        return f"{where}{mean:.4g} (one seed): {_apart(value, mean)}"
    rounding = 1e-4 * abs(mean)
    if low - rounding <= value <= high + rounding:
        return f"{where}{low:.4g} to {high:.4g}: inside"
    side, edge = ("above", high) if value > high else ("below", low)
    return f"{where}{low:.4g} to {high:.4g}: {side} by {abs(value - edge):.2g}"


def _apart(value: float, mean: float) -> str:
    side = "above" if value >= mean else "below"
    if mean == 0:
        return f"{side} by {abs(value):.2g}"
    return f"{side} by {abs(value - mean):.2g} ({100 * abs(value / mean - 1):.1f} %)"


def _notes(run: RecordedRun, reference: ReferenceCurves) -> Iterator[str]:
    """Name the differences that explain a gap."""
    if run.batch is not None and run.batch != reference.batch:
        yield (
            f"{run.batch} images an iteration, reference {reference.batch}: loss and entropies "
            "depend on this number and do not compare, if the loss spans the batch"
        )
    if run.images is not None and run.images != reference.images:
        yield f"{run.images} training images, reference {reference.images}"
    if run.epochs is not None and run.epochs != reference.epochs:
        yield (
            f"a training of {run.epochs} epochs, reference {reference.epochs}: the schedules of "
            "the learning rate differ at the same epoch"
        )
    method = str(run.config.get("model", {}).get("type", "")).rpartition(".")[2]
    if method and method != reference.method:
        yield f"the method is {method}, reference {reference.method}"
