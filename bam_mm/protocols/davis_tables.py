"""Tables of J & F, printed on the terminal and written as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bam_mm.evaluation import davis_summary

Setting = tuple[int, int]
Objects = Sequence[Mapping[str, float]]

MEASURES = ("J&F", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


def print_tables(
    summaries: Mapping[Setting, Mapping[str, float]],
    per_setting: Mapping[Setting, Mapping[str, Objects]],
) -> None:
    """Print a table with one row per setting, and one of the first setting's sequences.

    Args:
        summaries: Result of :func:`~bam_mm.evaluation.davis_summary` for all objects, by setting
            (topk, n_last_frames).
        per_setting: Measures of each object, by setting and sequence.
    """
    table = Table("k", "n", *MEASURES, title="DAVIS, all objects (%)")
    for (k, n), summary in summaries.items():
        table.add_row(str(k), str(n), *_percent(summary))
    setting, videos = next(iter(per_setting.items()))
    sequences = Table(
        "sequence", "objects", *MEASURES, title=f"by sequence, k={setting[0]} n={setting[1]} (%)"
    )
    for name, objects in videos.items():
        sequences.add_row(name, str(len(objects)), *_percent(davis_summary(objects)))
    console = Console()
    if not console.is_terminal:
        # For a file or a pipe, rich assumes 80 columns, which would wrap the cells.
        console = Console(width=120)
    console.print(table)
    console.print(sequences)


def write_tables(
    out: Path,
    summaries: Mapping[Setting, Mapping[str, float]],
    per_setting: Mapping[Setting, Mapping[str, Objects]],
) -> None:
    """Write ``global.csv``, ``per_sequence.csv`` and ``per_object.csv``, with values in 0 to 1.

    Args:
        out: Folder to write to, created if it does not exist.
        summaries: Same as in :func:`print_tables`.
        per_setting: Same as in :func:`print_tables`.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "global.csv", (), ((s, (), summary) for s, summary in summaries.items()))
    rows = [(s, name, objects) for s, v in per_setting.items() for name, objects in v.items()]
    _write(
        out / "per_sequence.csv",
        ("sequence", "objects"),
        ((s, (name, len(objects)), davis_summary(objects)) for s, name, objects in rows),
    )
    _write(
        out / "per_object.csv",
        ("sequence", "object"),
        ((s, (name, o["id"]), davis_summary([o])) for s, name, objs in rows for o in objs),
    )


def _write(path: Path, names: Sequence[str], rows: Iterable[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["topk", "n_last_frames", *names, *MEASURES])
        for setting, values, summary in rows:
            writer.writerow([*setting, *values, *(f"{summary[m]:.6f}" for m in MEASURES)])


def _percent(summary: Mapping[str, float]) -> list[str]:
    return [f"{100 * summary[measure]:.1f}" for measure in MEASURES]
