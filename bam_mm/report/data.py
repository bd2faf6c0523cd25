"""Everything that the report's page shows, as plain data without any HTML.

:func:`report_data` collects it and ``templates/page.html.j2`` lays it out. To add something to the
page, add an entry here and show it there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.checkpoint.preprocessing import from_facts
from bam_mm.report.comparisons import comparison_table
from bam_mm.report.costs import costs
from bam_mm.report.files import leaderboard_latex, leaderboard_markdown
from bam_mm.report.graphics import gallery, pretraining_charts, task_charts, task_pictures
from bam_mm.report.methods import method_charts
from bam_mm.report.published import changed_tasks, published, published_numbers, rows_beside
from bam_mm.report.setup import task_setup
from bam_mm.report.summary import (
    Column,
    about_task,
    columns,
    every_column,
    image_limits,
    leaderboard,
    models_in_order,
    models_of,
)
from bam_mm.report.tables import (
    Data,
    head,
    mean_cell,
    number_cell,
    table,
    text_cell,
    text_head,
)
from bam_mm.suite.definitions import Suite, Task
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.records import DONE, FAILED

Record = Mapping[str, Any]

INTERVALS = (
    " In brackets: 95 % bootstrap interval over the test images or videos of a run (mean of the "
    "ends over seeds)."
)


def report_data(
    suite: Suite, records: Sequence[Record], folder: Path, *, beside: bool = False
) -> Data:
    """Collect what the page shows.

    The keys from ``leaderboard`` on, besides ``copies``, are the sections of the page, which leaves
    out those that are None or an empty list. Three kinds of entries recur:

    - a table, see :mod:`bam_mm.report.tables`;
    - a chart, the arguments of :func:`bam_mm.report.chart.line_chart`, or with the key ``points``
      those of :func:`~bam_mm.report.chart.scatter_chart`;
    - a picture: its ``media`` type, ``base64`` content, ``caption`` and ``classes``, the colours of
      the classes by name.

    Args:
        suite: The suite.
        records: Records of the suite's tasks.
        folder: Work folder of the benchmark, which holds the pictures.
        beside: Whether the tables have published numbers of the same protocols below the measured.

    Returns:
        Nested dicts, lists, strings, numbers, booleans and None, which JSON can hold.
    """
    board = leaderboard(suite, records)
    tried = {record["task"] for record in records}
    return {
        "title": suite.title,
        "about": suite.about,
        "limits": image_limits(records),
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "leaderboard": leaderboard_table(board, records, beside=beside),
        "copies": copies(board, records, beside=beside) if board else {},
        "published": published_table(suite, records),
        "failures": failure_table(records),
        "methods": method_charts(records),
        "tasks": [
            task_data(t, records, folder, beside=beside) for t in suite.tasks if t.name in tried
        ],
        "pretraining": pretraining_charts(records),
        "pictures": gallery(folder),
        "cost": costs(suite, records, board, folder),
        "provenance": provenance(suite, records),
    }


def leaderboard_table(
    board: Sequence[Column], records: Sequence[Record], *, beside: bool = False
) -> Data:
    """Build the leaderboard: one row per model, one column per main metric.

    Args:
        board: The columns.
        records: Records of any tasks.
        beside: Whether published rows follow.
    """
    heads = [text_head("model")]
    heads += [head(_title(column), _first(column)) for column in board]
    rows = [
        [text_cell(name), *(mean_cell(c.cells.get(slug), c.metric.form, heat=True) for c in board)]
        for slug, name in models_of(records).items()
        if board
    ]
    caption = "Measured here. Bold: the best of a column. Colour: from the worst to the best of it."
    if any(cell.seeds > 1 for column in board for cell in column.cells.values()):
        caption += " Mean over seeds ± standard deviation of the sample (n - 1); none for one seed."
    if any(cell.interval for column in board for cell in column.cells.values()):
        caption += INTERVALS
    if beside:
        rows += published_cells(board, records)
        changed = changed_tasks(board, records)
        caption += " Rows marked as published were not measured here, and are never bold."
        if changed:
            caption += (
                f" None for {', '.join(sorted(changed))}, run on fewer images (--limit), with "
                "options that differ from the suite, with images of another size (--size), with "
                "another training batch, or with a backbone that the published protocol is not for."
            )
    return table(caption, heads, rows, name="leaderboard")


def copies(board: Sequence[Column], records: Sequence[Record], *, beside: bool) -> dict[str, str]:
    """Write the leaderboard in the languages in which the page offers it, by their names."""
    return {
        "LaTeX": leaderboard_latex(board, records, beside=beside),
        "Markdown": leaderboard_markdown(board, records, beside=beside),
    }


def published_cells(board: Sequence[Column], records: Sequence[Record]) -> list[list[Data]]:
    """Build the rows of published numbers for a table that starts with the column of the models."""
    return [
        [
            {**text_cell(row.name), "published": row.source},
            *(number_cell(v, c.metric.form) for c, v in zip(board, values, strict=True)),
        ]
        for row, values in rows_beside(board, records)
    ]


def published_table(suite: Suite, records: Sequence[Record]) -> Data | None:
    """Build the table of all published numbers of the quantities of the tasks that have run."""
    numbers = published_numbers(every_column(suite, records))
    if not numbers:
        return None
    titles = ("method", "backbone", "number", "protocol", "column with this protocol")
    heads = [text_head(title) for title in titles]
    heads[2:2] = [head("epochs"), head("value")]
    heads.append(text_head("source"))
    rows = []
    for key, row, title in numbers:
        texts = published().quantity(key), published().protocol(key), title, row.source
        epochs = number_cell(row.epochs, "d")
        value = number_cell(row.values[key], ".1f")
        method = ", ".join(filter(None, (row.method, row.note)))
        rows.append(
            [text_cell(method), text_cell(row.backbone), epochs, value, *map(text_cell, texts)]
        )
    caption = "Published, with the protocol and the source of each number."
    return table(caption, heads, rows, name="published numbers")


def failure_table(records: Iterable[Record]) -> Data | None:
    """Build the table of the runs that failed, with their messages."""
    rows = [
        [text_cell(value) for value in (r["model"]["name"], r["task"], r["seed"], r["message"])]
        for r in records
        if r["status"] == FAILED
    ]
    if not rows:
        return None
    heads = [text_head(name) for name in ("model", "task", "seed", "what happened")]
    caption = "Runs that failed; the next call tries them again."
    return table(caption, heads, rows, name="failures")


def task_data(task: Task, records: Sequence[Record], folder: Path, *, beside: bool = False) -> Data:
    """Collect what the page shows of one task.

    Args:
        task: The task.
        records: All records, of this task and of others.
        folder: Work folder of the benchmark.
        beside: Whether published rows follow those of the table.

    Returns:
        ``name``, ``title``, ``about`` and ``data`` of the task, its ``setup`` (see
        :func:`~bam_mm.report.setup.task_setup`), the settings ``fitted`` to the models' widths, the
        ``table`` of all its metrics (None before the first result), the ``comparison`` of the
        models on the same images (None if there is none), ``charts`` and ``pictures``.
    """
    order = list(models_of(records).values())
    done = [r for r in records if r["task"] == task.name and r["status"] == DONE]
    pretraining = task.kind == PRETRAIN  # It has sections of its own for its curves.
    return {
        "name": task.name,
        "title": task.title,
        "about": about_task(task, records),
        "data": task.data.title,
        "setup": task_setup(task, done),
        "fitted": sorted(
            {f"{r['model']['name']}: {a}" for r in done for a in r.get("adapted", ())}
        ),
        "table": _metric_table(task, done, records, beside=beside),
        "comparison": None if pretraining else comparison_table(task, done, folder),
        "charts": [] if pretraining else task_charts(done, order),
        "pictures": task_pictures(done, folder),
    }


def provenance(suite: Suite, records: Sequence[Record]) -> Data:
    """Collect what was run and where.

    Args:
        suite: The suite.
        records: Records of the suite's tasks.

    Returns:
        ``models``, a table with the proof that each checkpoint was loaded, and ``facts``: suite,
        commits, machines, devices and versions by name.
    """
    heads = [
        text_head(name)
        for name in ("model", "given as", "backbone", "loaded", "file sha256", "normalisation")
    ]
    rows = [
        [text_cell(name), *_model_facts([r for r in records if r["slug"] == slug])]
        for slug, name in models_of(records).items()
    ]
    facts = {
        "suite": f"{suite.name}; tasks {', '.join(task.name for task in suite.tasks)}",
        "commit": _distinct(
            f"{git['commit'][:12]}{' with changes' if git['changed'] else ''}"
            for r in records
            if (git := r.get("git"))
        ),
        "machine": _distinct(
            f"{r['hardware']['cpu']}, {r['hardware']['cores']} cores" for r in records
        ),
        "devices": _distinct(device for r in records for device in r.get("devices") or ()),
        "precision of frozen backbones": _precisions(records),
        "versions": _distinct(
            ", ".join(f"{name} {number}" for name, number in r["versions"].items()) for r in records
        ),
    }
    return {
        "models": table("Models", heads, rows, name="models"),
        "facts": {name: value for name, value in facts.items() if value},
    }


def _precisions(records: Sequence[Record]) -> str:
    """Name the precisions of frozen backbones with their tasks, as the device decides them."""
    tasks: dict[str, dict[str, None]] = {}
    for record in records:
        if record.get("precision"):
            tasks.setdefault(record["precision"], {})[record["task"]] = None
    return " | ".join(f"{precision} ({', '.join(names)})" for precision, names in tasks.items())


def _metric_table(
    task: Task, done: Sequence[Record], records: Sequence[Record], *, beside: bool
) -> Data | None:
    if not done:
        return None
    metrics = columns(task, done)
    heads = [text_head("model"), *(head(c.metric.label, _first(c)) for c in metrics)]
    heads.append(text_head("seeds"))
    rows = []
    for slug, name in models_in_order(done, records).items():
        seeds = " ".join(str(r["seed"]) for r in done if r["slug"] == slug)
        numbers = [mean_cell(c.cells.get(slug), c.metric.form) for c in metrics]
        rows.append([text_cell(name), *numbers, text_cell(seeds)])
    if beside:
        rows += [[*cells, text_cell("")] for cells in published_cells(metrics, records)]
    return table(f"{task.title}, all metrics", heads, rows, name=task.title)


def _model_facts(runs: Sequence[Record]) -> list[Data]:
    """The cells of a model's row in the provenance table, after its name."""
    # The run of a pretraining has loaded nothing.
    runs = [r for r in runs if r["kind"] != PRETRAIN] or runs
    model, proofs = runs[0]["model"], [r["proof"] for r in runs if r.get("proof")]
    if proofs:
        proof = proofs[0]
        loaded = f"all {proof['loaded']} tensors ({proof['layout']})"
        loaded += f"; resized {', '.join(proof['resized'])}" if proof["resized"] else ""
    else:
        trained = model["sha256"] or model.get("method")
        loaded = "not loaded yet" if trained else "random weights"
    backbone = model["backbone"]
    kind = f"{backbone.get('type')} {backbone.get('arch') or backbone.get('model_name') or ''}"
    if model["kind"] == "bam":
        kind += f", {model['branch']}"
    # A method has a file for each seed.
    files = {r["checkpoint"]["sha256"][:12]: None for r in runs if r.get("checkpoint")}
    digest = ", ".join(files) if model.get("method") else model["sha256"][:12]
    facts = (runs[0]["spec"], kind, loaded, digest, _normalisations(runs))
    return [text_cell(fact) for fact in facts]


def _normalisations(runs: Sequence[Record]) -> str:
    """Name the normalisations of a model's runs, with the tasks if they differ."""
    tasks: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.get("preprocessing"):
            used = from_facts(run["preprocessing"])
            text = f"{used.describe_normalisation()}, from {used.source}"
            tasks.setdefault(text, {})[run["task"]] = None
    if len(tasks) == 1:
        return next(iter(tasks))
    return " | ".join(f"{text} ({', '.join(names)})" for text, names in tasks.items())


def _first(column: Column) -> str:
    """The order in which the best value of a column comes first."""
    return "descending" if column.metric.better == "higher" else "ascending"


def _title(column: Column) -> str:
    return f"{column.task.title}, {column.metric.label}"


def _distinct(values: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(values))
