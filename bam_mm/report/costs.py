"""What models, runs and pretraining cost, as tables, and the models' scores against their cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.report.summary import Cell, Column, cell_of, models_in_order
from bam_mm.report.tables import Data, head, mean_cell, number_cell, table, text_cell, text_head
from bam_mm.suite.definitions import Suite
from bam_mm.suite.records import COST, DONE, read_json

Record = Mapping[str, Any]

ABOUT_MODELS = (
    "The backbone, without the heads of a task. GMACs: 1e9 multiply-accumulates for one image of "
    "the input size, in convolutions and matrix products, those of attention included; norms, "
    "activations, sums and pooling are not counted, and FLOPs are twice as many. Images/s: of the "
    "backbone alone, and with reading and decoding, of one process. Memory: the peak of a process "
    "until the end of the extraction. Speed and memory are measured while features are extracted, "
    "not when they are read from the cache. They are the mean, and ± the standard deviation, over "
    "those runs of the model, of any task and seed, that measured them under the conditions that "
    "the row names: precision, device, threads of a process, and processes on the machine."
)

MEASURED = ("images_per_s", "read_images_per_s", "peak_mb", "peak_gpu_mb")
"""Keys of a record's ``cost`` that are measured during extraction, in the order of the table."""


def costs(
    suite: Suite, records: Sequence[Record], board: Sequence[Column], folder: Path
) -> list[Data]:
    """Build the parts of the section on cost.

    Args:
        suite: The suite.
        records: Records of the suite's tasks.
        board: Columns of the leaderboard.
        folder: Work folder of the benchmark.

    Returns:
        Parts with ``about``, a text, a ``table`` and ``charts``: of the models, of the runs, and of
        pretraining; those without numbers are left out.
    """
    parts = (model_costs(suite, records, board), run_cost(suite, records), pretraining_cost(folder))
    return [part for part in parts if part]


def model_costs(suite: Suite, records: Sequence[Record], board: Sequence[Column]) -> Data | None:
    """Build the table of what each backbone costs to use at each size, and the scatter charts.

    Args:
        suite: The suite.
        records: Records of the suite's tasks. Those of earlier versions have no cost.
        board: Columns of the leaderboard, each of which has a chart of its scores against GMACs.

    Returns:
        Same as an entry of :func:`costs`; None if no record has a cost.
    """
    known = [r for r in records if r["status"] == DONE and r.get("cost")]
    rows = []
    for slug, name in models_in_order(known, records).items():
        mine = [r for r in known if r["slug"] == slug]
        for size in {tuple(r["cost"]["size"] or ()): None for r in mine}:
            same = [r for r in mine if tuple(r["cost"]["size"] or ()) == size]
            rows += [[text_cell(name), *cells] for cells in _cost_rows(suite, size, same)]
    if not rows:
        return None
    heads = [text_head("model"), text_head("input (px)"), head("parameters (M)", "ascending")]
    heads += [head("GMACs", "ascending"), head("images/s"), head("images/s with reading")]
    heads += [head("memory (MiB)", "ascending"), head("GPU memory (MiB)", "ascending")]
    heads += [text_head(each) for each in ("precision", "device", "threads x processes", "tasks")]
    costs = table("Cost of using the models", heads, rows, name="cost of the models")
    charts = [chart for column in board if (chart := _scatter(column, known, records))]
    return {"about": ABOUT_MODELS, "table": costs, "charts": charts}


def _cost_rows(suite: Suite, size: tuple[int, ...], same: Sequence[Record]) -> list[list[Data]]:
    """The cells of a model at one size, a row for each device and precision that was measured."""
    parameters, gmacs = (_first(same, key) for key in ("parameters", "gmacs"))
    shown = f"{size[1]} x {size[0]}" if size else ""
    counted = [
        text_cell(shown),
        number_cell(None if parameters is None else parameters / 1e6, ",.1f"),
        number_cell(gmacs, ",.3g" if gmacs is not None and gmacs < 100 else ",.0f"),
    ]
    tasks = [task.name for task in suite.tasks if any(r["task"] == task.name for r in same)]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in same:
        if record["cost"].get("images_per_s") is not None:
            groups.setdefault(_conditions(record), []).append(record)
    rows = []
    for conditions, some in (groups or {("", "", ""): []}).items():
        cells = [mean_cell(_mean(some, key), ",.0f") for key in MEASURED]
        texts = [text_cell(text) for text in (*conditions, ", ".join(tasks))]
        rows.append([*counted, *cells, *texts])
    return rows


def _conditions(record: Record) -> tuple[str, str, str]:
    """Precision, devices with the processor, and threads x processes, as far as they are known."""
    processor = (record.get("hardware") or {}).get("cpu") or "cpu"
    gpus = [device for device in record.get("devices") or () if device != "cpu"]
    # Reading takes the processor, also if the network runs on a GPU.
    device = f"{', '.join(gpus)} with {processor}" if gpus else processor
    threads, sharing = (record["cost"].get(key) for key in ("threads", "sharing"))
    load = "" if threads is None or sharing is None else f"{threads} x {sharing}"
    return record.get("precision") or "", device, load


def _mean(some: Sequence[Record], key: str) -> Cell | None:
    return cell_of([r["cost"][key] for r in some if r["cost"].get(key) is not None])


def _first(some: Sequence[Record], key: str) -> float | None:
    return next((r["cost"][key] for r in some if r["cost"].get(key) is not None), None)


def _scatter(column: Column, known: Sequence[Record], records: Sequence[Record]) -> Data | None:
    """The arguments of the chart of a column; None with fewer than two models."""
    mine = [r for r in known if r["task"] == column.task.name]
    points: dict[str, list[float]] = {}
    for slug, name in models_in_order(mine, records).items():
        found = [r["cost"]["gmacs"] for r in mine if r["slug"] == slug and r["cost"].get("gmacs")]
        cell = column.cells.get(slug)
        if cell is not None and found:
            points[name] = [statistics.fmean(found), cell.mean, *(cell.interval or ())]
    if len(points) < 2:
        return None
    label = f"{column.task.title}, {column.metric.label}"
    names = list(models_in_order(records, records).values())
    labels = {"x_label": "GMACs of the backbone for an image", "y_label": label}
    return {"points": points, **labels, "log": True, "order": names}


def run_cost(suite: Suite, records: Sequence[Record]) -> Data | None:
    """Build the table of time and peak memory by task and model, with an introduction."""
    rows = []
    for task in suite.tasks:
        done = [r for r in records if r["task"] == task.name and r["status"] == DONE]
        for slug, name in models_in_order(done, records).items():
            runs = [r for r in done if r["slug"] == slug]
            memory, gpu = (
                cell_of([r["memory"][key] for r in runs if r["memory"][key] is not None])
                for key in ("peak_mb", "peak_gpu_mb")
            )
            devices = sorted({device for r in runs for device in r.get("devices") or ()})
            processes = max(r.get("processes") or 1 for r in runs)
            rows.append(
                [
                    text_cell(task.title),
                    text_cell(name),
                    mean_cell(cell_of([r["time"]["seconds"] for r in runs]), ".0f"),
                    mean_cell(memory, ",.0f"),
                    mean_cell(gpu, ",.0f"),
                    text_cell(f"{processes} x {', '.join(devices)}"),
                    number_cell(sum(r["time"]["starts"] - 1 for r in runs), "d"),
                ]
            )
    if not rows:
        return None
    heads = [text_head("task"), text_head("model"), head("seconds"), head("memory (MiB)")]
    heads += [head("GPU memory (MiB)"), text_head("processes"), head("starts after the first")]
    about = (
        "Wall-clock time, including loading, over all starts of a run. Memory is the peak of the "
        "largest process, without its data loader workers. The first feature task of a model "
        "extracts its features; later ones read them from the cache."
    )
    costs = table("Cost of the runs, mean over seeds", heads, rows, name="cost of the runs")
    return {"about": about, "table": costs, "charts": []}


def pretraining_cost(folder: Path) -> Data | None:
    """Build the table of a pretraining step's cost by method, if the work folder has the file.

    Args:
        folder: Work folder of the benchmark, which holds ``cost.json`` of ``benchmark.py cost``.

    Returns:
        Same as an entry of :func:`costs`; None without a measurement.
    """
    measured = [row for row in read_json(folder / COST) or () if not row["message"]]
    if not measured:
        return None
    first = measured[0]
    heads = [text_head("method"), head("ms per step", "ascending")]
    heads += [head(f"times {first['method']}", "ascending"), head("images/s")]
    heads += [head("peak memory (MiB)", "ascending"), head("hours per ImageNet epoch", "ascending")]
    rows = [
        [
            text_cell(row["method"]),
            number_cell(row["ms"], ",.0f"),
            number_cell(row["times"], ".2f"),
            number_cell(row["images_per_s"], ",.1f"),
            number_cell(row["peak_mb"], ",.0f"),
            number_cell(row["imagenet_hours"], ",.1f"),
        ]
        for row in measured
    ]
    about = (
        f"{first['batch']} images per step, crops {' + '.join(first['crops'])} (BAM and SwAV use "
        f"all of them, MAE the first, the other methods two), {first['backbone']}, "
        f"{'bfloat16' if first['bfloat16'] else 'float32'}, {first['device']}, without data "
        "loading."
    )
    return {
        "about": about,
        "table": table("Cost of a pretraining step", heads, rows, name="pretraining cost"),
        "charts": [],
    }
