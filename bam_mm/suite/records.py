"""Records of finished runs: one JSON file for each model, task and seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bam_mm.checkpoint import write_whole
from bam_mm.checkpoint.settings import differences
from bam_mm.errors import InputError
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.models import Model
from bam_mm.suite.protocol import protocol_differences
from bam_mm.variables.entries import plain

FORMAT = 1
DONE, FAILED = "done", "failed"
PICTURES = "pictures"
"""Folder of pictures in the work folder; the report shows each with its name as the caption."""

COST = "cost.json"
"""File with the results of ``bam-mm benchmark cost`` in the work folder; shown in the report."""

PLAN = "plan.json"
"""File in a run's work folder with the protocol, model and data that the run was started with."""


def record_path(folder: Path, model: str, task: str, seed: int) -> Path:
    """Return the path of a record.

    Args:
        folder: Work folder of the benchmark.
        model: Slug of the model.
        task: Name of the task.
        seed: Seed of the run.
    """
    return folder / "records" / model / task / f"seed{seed}.json"


def run_folder(folder: Path, model: str, task: str, seed: int) -> Path:
    """Return the folder of a run's log, checkpoints and pictures.

    Args:
        folder: Work folder of the benchmark.
        model: Slug of the model.
        task: Name of the task.
        seed: Seed of the run.
    """
    return folder / "runs" / model / task / f"seed{seed}"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; return None if it does not exist.

    Raises:
        InputError: If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): delete it and run again") from error


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read all records of a work folder, sorted by path."""
    paths = sorted((folder / "records").glob("*/*/seed*.json"))
    return [record for path in paths if (record := read_json(path)) is not None]


def protocol_groups(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the groups of a result. Results of a task that share a group have one protocol.

    A task may have a config for each family of backbones, and so a protocol for each. The config
    that was used is a group, and so are family and model, because the task may have had other
    configs when a result was made.

    Args:
        record: Record, or the entries ``variant``, ``family``, ``slug`` and ``kind`` of one.
    """
    groups = {("variant", record["variant"]), ("model", record["slug"])}
    # Each method is pretrained in its own way. Records of earlier versions name no family.
    if record["kind"] != PRETRAIN and record.get("family"):
        groups.add(("family", record["family"]))
    return groups


def result_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """List what differs between the protocols and the data of two results.

    Args:
        one: Record, or its entries ``protocol`` and ``data``.
        other: Another one.

    Returns:
        Lines such as ``test_cfg.k: [10] -> [20]``, empty if the results can stand in one table.
    """
    found = protocol_differences(one["protocol"], other["protocol"])
    return found + [f"data.{line}" for line in differences(one["data"], other["data"])]


def refuse_to_mix(
    records: Iterable[Mapping[str, Any]], new: Mapping[str, Any], folder: Path
) -> None:
    """Check that the finished records of a task have the same protocol and data as a new run.

    Args:
        records: Records of the work folder.
        new: Record of the new run; the entries of :func:`protocol_groups`, ``task``, ``protocol``
            and ``data`` are enough.
        folder: Work folder, for the message.

    Raises:
        InputError: If they differ; the message lists the differences.
    """
    task, groups = new["task"], protocol_groups(new)
    for record in records:
        if record["task"] != task or record["status"] != DONE:
            continue
        if groups.isdisjoint(protocol_groups(record)):
            continue
        if found := result_differences(record, new):
            raise InputError(
                f"task {task}: the records in {folder} have another protocol (model "
                f"{record['model']['name']}, seed {record['seed']}) and cannot be mixed with this "
                f"run: {'; '.join(found)}. Undo the change, choose another --work-dir, or "
                f"delete {folder}/records/*/{task}"
            )


def refuse_other_model(records: Iterable[Mapping[str, Any]], model: Model, folder: Path) -> None:
    """Check that the finished records under a model's name belong to the same model.

    Args:
        records: Records of the work folder.
        model: Model of the new run.
        folder: Work folder, for the message.

    Raises:
        InputError: If they differ; the message lists the differences.
    """
    for record in records:
        if record["slug"] != model.slug or record["status"] != DONE:
            continue
        found = model_differences(record["model"], model)
        if found:
            remedy = (
                "Undo the change of --cfg-options, choose another --work-dir,"
                if model.method
                else "Choose another name with --model NAME=SPEC,"
            )
            raise InputError(
                f"model {model.name!r}: the records in {folder} under this name belong to another "
                f"model: {'; '.join(found)}. {remedy} or "
                f"delete {folder}/records/{model.slug} and {folder}/runs/{model.slug}"
            )


def model_differences(recorded: Mapping[str, Any], model: Model) -> list[str]:
    """List the differences between a model as recorded and a model.

    Args:
        recorded: Facts of a model in a record.
        model: Model of a new run.

    Returns:
        Lines such as ``backbone.depth: 18 -> 50``, empty if it is the same model.
    """
    found = differences(recorded, plain(model.facts()))
    named = "digest of the pretraining's settings: "
    return [re.sub("^pretraining: ", named, line) for line in found]
