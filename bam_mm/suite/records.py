"""Records: one JSON file a (model, task, seed)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.launch.config import plain
from bam_mm.suite.models import Model
from bam_mm.suite.protocol import differences

FORMAT = 1
DONE, FAILED = "done", "failed"
PICTURES = "pictures"
"""Folder below the work folder; the page shows what lies there, the name as caption."""

COST = "cost.json"
"""What ``tools/benchmark.py cost`` measured, below the work folder; the page has a table of it."""

PLAN = "plan.json"
"""In a run's work folder: what it was begun as."""


def record_path(folder: Path, model: str, task: str, seed: int) -> Path:
    """Where a record lies.

    Args:
        folder: Work folder of the benchmark.
        model: Slug of the model.
        task: Name of the task.
        seed: Of the run.
    """
    return folder / "records" / model / task / f"seed{seed}.json"


def run_folder(folder: Path, model: str, task: str, seed: int) -> Path:
    """Where the run's log, checkpoints and pictures lie; arguments as of :func:`record_path`."""
    return folder / "runs" / model / task / f"seed{seed}"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file, None where there is none.

    Raises:
        InputError: If it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): delete it, and run again") from error


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All records of a work folder, in the order of their paths."""
    paths = sorted((folder / "records").glob("*/*/seed*.json"))
    return [record for path in paths if (record := read_json(path)) is not None]


def refuse_to_mix(
    records: Iterable[Mapping[str, Any]],
    task: str,
    variant: str,
    protocol: Mapping[str, Any],
    data: Mapping[str, Any],
    folder: Path,
) -> None:
    """Stop where finished records of a task were made by another protocol, or on other data.

    Args:
        records: Of the work folder.
        task: Name of the task.
        variant: Which of its configs.
        protocol: Of the run that is asked for.
        data: Facts on its data.
        folder: For the message.

    Raises:
        InputError: With what differs.
    """
    for record in records:
        if record["task"] != task or record["variant"] != variant or record["status"] != DONE:
            continue
        found = differences(record["protocol"], protocol)
        found += [f"data.{line}" for line in differences(record["data"], data)]
        if found:
            raise InputError(
                f"task {task}: the records in {folder} were made by another protocol (model "
                f"{record['model']['name']}, seed {record['seed']}), and are not mixed with this "
                f"one: {'; '.join(found)}. Take back the change, choose another --work-dir, or "
                f"delete {folder}/records/*/{task}"
            )


def refuse_other_model(records: Iterable[Mapping[str, Any]], model: Model, folder: Path) -> None:
    """Stop where finished records of this name are of another model.

    Args:
        records: Of the work folder.
        model: The model that is asked for.
        folder: For the message.

    Raises:
        InputError: With what differs.
    """
    for record in records:
        if record["slug"] != model.slug or record["status"] != DONE:
            continue
        found = differences(record["model"], plain(model.facts()))
        if found:
            raise InputError(
                f"model {model.name!r}: the records in {folder} of this name are of another model: "
                f"{'; '.join(found)}. Give this one another name, as in --model NAME=SPEC, or "
                f"delete {folder}/records/{model.slug} and {folder}/runs/{model.slug}"
            )
