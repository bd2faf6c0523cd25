"""The parts of the page below its tables of results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.report.chart import line_chart
from bam_mm.report.markup import Entry, Head, escape, number, picture, table, text
from bam_mm.report.summary import cell_of, columns, models_of
from bam_mm.suite.definitions import Suite, Task
from bam_mm.suite.harvest import thin
from bam_mm.suite.records import COST, DONE, FAILED, PICTURES, read_json

Record = Mapping[str, Any]

PRETRAINING = {
    "loss": "loss (nats)",
    "attention_entropy": "entropy of the attention (nats)",
    "target_entropy": "entropy of the target (nats)",
    "feature_std": "feature deviation (1: spread evenly)",
    "knn/teacher_top1": "kNN top-1 of the teacher (%)",
}
"""What is drawn of a pretraining's log."""


def task_section(task: Task, records: Sequence[Record], folder: Path) -> str:
    """A task: protocol, all its metrics, curves and pictures."""
    order = list(models_of(records).values())
    mine = [r for r in records if r["task"] == task.name]
    done = [r for r in mine if r["status"] == DONE]
    parts = [f'<h3 id="task-{escape(task.name)}">{escape(task.title)}</h3>']
    digests = {f"{r['variant']}: {r['protocol_digest']}" for r in done}
    parts.append(
        f"<p>{escape(task.about)}. Data: {escape(task.data.title)}.</p>"
        f'<p class="soft">Protocol {escape(", ".join(sorted(digests)) or "not run yet")}</p>'
    )
    adapted = sorted({f"{r['model']['name']}: {a}" for r in done for a in r.get("adapted", ())})
    if adapted:
        items = "".join(f"<li><code>{escape(line)}</code></li>" for line in adapted)
        parts.append(
            f"<details><summary>Fitted to the models' widths</summary><ul>{items}</ul></details>"
        )
    if done:
        found = columns(task, done)
        heads = [Head("model", "ascending", "text"), *(Head(c.metric.label) for c in found)]
        heads.append(Head("seeds", "ascending", "text"))
        rows = []
        for slug, name in _those_of(done, records).items():
            seeds = " ".join(str(r["seed"]) for r in done if r["slug"] == slug)
            cells = [number(c.cells.get(slug), c.metric.form) for c in found]
            rows.append([text(name), *cells, text(seeds)])
        parts.append(table(f"{task.title}, all its numbers", heads, rows, name=task.title))
    charts = [*_task_curves(done, order), *_learning_curves(done, order)]
    if charts:
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    shown = [
        picture(folder / entry["path"], f"{_who(r)}: {entry['caption']}")
        for r in _first_seeds(done)
        for entry in r.get("pictures", ())
    ]
    if any(shown):
        parts.append(f'<div class="pictures">{"".join(shown)}</div>')
    return "".join(parts)


def failures(records: Iterable[Record]) -> str:
    """What has no result, with its message."""
    rows = [
        [text(r["model"]["name"]), text(r["task"]), text(r["seed"]), text(r["message"])]
        for r in records
        if r["status"] == FAILED
    ]
    if not rows:
        return ""
    heads = [Head(name, "ascending", "text") for name in ("model", "task", "seed", "what happened")]
    return table("Runs that failed; the next call tries them again.", heads, rows, name="failures")


def cost(suite: Suite, records: Sequence[Record]) -> str:
    """Time and peak memory by task and model."""
    rows = []
    for task in suite.tasks:
        mine = [r for r in records if r["task"] == task.name and r["status"] == DONE]
        for slug, name in _those_of(mine, records).items():
            runs = [r for r in mine if r["slug"] == slug]
            memory, gpu = (
                cell_of([r["memory"][key] for r in runs if r["memory"][key] is not None])
                for key in ("peak_mb", "peak_gpu_mb")
            )
            machine = sorted({d for r in runs for d in r.get("devices") or ()})
            again = sum(r["time"]["starts"] - 1 for r in runs)
            rows.append(
                [
                    text(task.title),
                    text(name),
                    number(cell_of([r["time"]["seconds"] for r in runs]), ".0f"),
                    number(memory, ",.0f"),
                    number(gpu, ",.0f"),
                    text(f"{max(r.get('processes') or 1 for r in runs)} x {', '.join(machine)}"),
                    Entry(str(again), str(again)),
                ]
            )
    if not rows:
        return ""
    heads = [Head("task", "ascending", "text"), Head("model", "ascending", "text")]
    heads += [Head("seconds"), Head("memory (MiB)"), Head("GPU memory (MiB)")]
    heads += [Head("processes", "ascending", "text"), Head("starts after the first")]
    return (
        "<p>Time on the clock from start to end, loading included, over all starts. Memory is the "
        "peak of the largest process, without its loader's workers. The first feature task of a "
        "model extracts its features, later ones find them in the cache.</p>"
        + table("Cost, mean over seeds", heads, rows, name="cost")
    )


def pretraining(records: Sequence[Record]) -> str:
    """Curves of the models' pretraining, where its log lies beside the checkpoint."""
    series: dict[str, dict[str, list]] = {key: {} for key in PRETRAINING}
    seen = set()
    for record in records:
        path = (record.get("checkpoint") or {}).get("path", "")
        if record["slug"] in seen or record["model"]["kind"] != "bam" or not path:
            continue
        seen.add(record["slug"])
        try:
            found = read_scalars(Path(path).parent)
        except (InputError, OSError, ValueError):
            continue
        for key in PRETRAINING:
            if found.get(key):
                series[key][record["model"]["name"]] = [(x, y) for x, y in thin(found[key])]
    charts = [
        line_chart(
            series[key],
            x_label="iteration",
            y_label=label,
            order=list(models_of(records).values()),
        )
        for key, label in PRETRAINING.items()
    ]
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def pretraining_cost(folder: Path) -> str:
    """What a step of pretraining costs by method, where it was measured into the work folder."""
    rows = [row for row in read_json(folder / COST) or () if not row["message"]]
    if not rows:
        return ""
    heads = [Head("method", "ascending", "text"), Head("ms a step", "ascending")]
    heads += [Head(f"times {rows[0]['method']}", "ascending"), Head("images/s")]
    heads += [Head("peak memory (MiB)", "ascending"), Head("hours an ImageNet epoch", "ascending")]
    body = [
        [
            text(row["method"]),
            *(
                Entry(format(row[key], form), repr(row[key]))
                for key, form in (
                    ("ms", ",.0f"),
                    ("times", ".2f"),
                    ("images_per_s", ",.1f"),
                    ("peak_mb", ",.0f"),
                    ("imagenet_hours", ",.1f"),
                )
            ),
        ]
        for row in rows
    ]
    first = rows[0]
    what = (
        f"{first['batch']} images a step, crops {' + '.join(first['crops'])} (BAM and SwAV take "
        f"all, MAE the first, the others two), {first['backbone']}, "
        f"{'bfloat16' if first['bfloat16'] else 'float32'}, {first['device']}; loading of data "
        "is not in it."
    )
    return f"<p>{escape(what)}</p>" + table(
        "A step of pretraining", heads, body, name="pretraining cost"
    )


def gallery(folder: Path) -> str:
    """Pictures that were put into ``pictures/`` of the work folder, by name."""
    paths = sorted((folder / PICTURES).glob("*.*"))
    shown = "".join(picture(path, path.stem.replace("_", " ")) for path in paths)
    return f'<div class="pictures">{shown}</div>' if shown else ""


def provenance(suite: Suite, records: Sequence[Record]) -> str:
    """Models with the proof of their loading, versions, commits, machines."""
    rows = []
    for slug, name in models_of(records).items():
        runs = [r for r in records if r["slug"] == slug]
        model, proofs = runs[0]["model"], [r["proof"] for r in runs if r.get("proof")]
        if proofs:
            proof = proofs[0]
            said = f"all {proof['loaded']} tensors ({proof['layout']})"
            said += f"; resized {', '.join(proof['resized'])}" if proof["resized"] else ""
        else:
            said = "random weights" if not model["sha256"] else "not loaded yet"
        backbone = model["backbone"]
        kind = f"{backbone.get('type')} {backbone.get('arch') or backbone.get('model_name') or ''}"
        rows.append(
            [
                text(name),
                text(runs[0]["spec"]),
                text(f"{kind}, {model['branch']}" if model["kind"] == "bam" else kind),
                text(said),
                text(model["sha256"][:12]),
            ]
        )
    heads = [
        Head(name, "ascending", "text")
        for name in ("model", "given as", "backbone", "loaded", "file sha256")
    ]
    facts = {
        "suite": f"{suite.name}; tasks {', '.join(task.name for task in suite.tasks)}",
        "commit": _different(
            f"{git['commit'][:12]}{' with changes' if git['changed'] else ''}"
            for r in records
            if (git := r.get("git"))
        ),
        "machine": _different(
            f"{r['hardware']['cpu']}, {r['hardware']['cores']} cores" for r in records
        ),
        "devices": _different(d for r in records for d in r.get("devices") or ()),
        "versions": _different(
            ", ".join(f"{name} {number}" for name, number in r["versions"].items()) for r in records
        ),
    }
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return table("Models", heads, rows, name="models") + f"<dl>{listed}</dl>"


def _task_curves(done: Sequence[Record], order: Sequence[str]) -> list[str]:
    """A chart a panel; means over the seeds where they share x."""
    gathered: dict[tuple, dict[str, list]] = {}
    for record in done:
        for curve in record.get("curves", ()):
            x_label, *labels = curve["labels"]
            for label, values in zip(labels, curve["y"], strict=True):
                lines = gathered.setdefault((x_label, label, curve["log"]), {})
                points = list(zip(curve["x"], values, strict=True))
                lines.setdefault(record["model"]["name"], []).append(points)
    return [
        line_chart(
            {name: _mean(curves) for name, curves in lines.items()},
            x_label=x_label,
            y_label=label,
            log=log,
            order=order,
        )
        for (x_label, label, log), lines in gathered.items()
    ]


def _learning_curves(done: Sequence[Record], order: Sequence[str]) -> list[str]:
    names = sorted({name for r in done for name in r.get("training") or ()})
    wanted = [n for n in names if n == "loss" or "/" in n]
    charts = []
    for name in wanted:
        lines = {
            r["model"]["name"]: [tuple(point) for point in r["training"][name]]
            for r in _first_seeds(done)
            if name in (r.get("training") or ())
        }
        if all(len(line) < 2 for line in lines.values()):
            continue  # Its one number stands in the table.
        step = "iteration" if name == "loss" else "epoch or iteration"
        label = f"{name} while training"
        charts.append(line_chart(lines, x_label=step, y_label=label, order=order))
    return charts


def _those_of(some: Sequence[Record], every: Sequence[Record]) -> dict[str, str]:
    """The models of some records, in the one order of all tables."""
    mine = models_of(some)
    return {slug: name for slug, name in models_of(every).items() if slug in mine}


def _who(record: Record) -> str:
    return f"{record['model']['name']}, seed {record['seed']}"


def _mean(curves: Sequence[Sequence[tuple[float, float]]]) -> Sequence[tuple[float, float]]:
    places = [[x for x, _ in points] for points in curves]
    if any(x != places[0] for x in places):
        return curves[0]
    heights = zip(*([y for _, y in points] for points in curves), strict=True)
    return list(zip(places[0], (statistics.fmean(y) for y in heights), strict=True))


def _first_seeds(done: Sequence[Record]) -> list[Record]:
    first: dict[str, Record] = {}
    for record in sorted(done, key=lambda r: r["seed"]):
        first.setdefault(record["slug"], record)
    return [record for record in done if first[record["slug"]] is record]


def _different(values: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(values))
