"""Pretraining methods of a suite: the entries of ``pretraining`` in its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.launch.paths import find_config
from bam_mm.suite.entries import Data, Metric, build
from bam_mm.suite.models import slug_of

PRETRAIN = "pretrain"
"""Name and kind of the task that the pretraining is: `bam-mm train` only."""

METRICS = (
    Metric("knn/top1", "online kNN top-1", main=True),
    Metric("images_per_s", "images/s", main=True, form=",.0f", timed=True),
    Metric("minutes", "minutes", main=True, better="lower", form=",.1f", timed=True),
    Metric("memory_mb", "memory (MiB)", main=True, better="lower", form=",.0f", timed=True),
    Metric("seconds_per_epoch", "seconds an epoch", better="lower", form=",.1f", timed=True),
    Metric("parameters", "backbone parameters (M)", better="neither", scale=1e-6, form=",.2f"),
)
"""Metrics of a pretraining.

Memory is the peak of the GPU, or of the process where there is none, over the whole run: the steps,
online kNN with its features of the training images, and new boxes.
"""


@dataclass(frozen=True)
class Method:
    """A method that a suite pretrains.

    Attributes:
        name: Short name for folders and ``--methods``.
        title: Name in tables.
        config: Path of the config of the pretraining; in a suite file, a name in ``configs/`` or a
            path, also relative to the suite file.
        data: Data set that the pretraining reads.
        options: Overridden settings of the config, by dotted key.
        cost: Approximate duration, and the hardware if it is not a CPU.
    """

    name: str
    title: str
    config: Path
    data: Data
    options: Mapping[str, Any] = field(default_factory=dict)
    cost: str = "unknown time"


def read_methods(entries: Any, where: str, folder: Path) -> tuple[Method, ...]:
    """Read the methods of a suite.

    Args:
        entries: ``pretraining`` of the suite file.
        where: Name of the suite, for messages.
        folder: Folder of the suite file.

    Raises:
        InputError: If an entry is invalid, or two share a name.
    """
    if not isinstance(entries, (list, tuple)):
        raise InputError(f"{where}: pretraining must be a list of dicts, one for each method")
    methods = tuple(_method(entry, where, folder) for entry in entries)
    names, titles = ([getattr(m, key) for m in methods] for key in ("name", "title"))
    # Names that differ only in special characters, or in capital letters, may share a folder.
    folders = {slug_of(name).casefold() for name in names}
    if len(folders) != len(names) or len({*titles}) != len(titles):
        raise InputError(
            f"{where}: names and titles of methods must be unique, but they are {', '.join(names)} "
            f"({', '.join(titles)})"
        )
    return methods


def _method(entry: Any, where: str, folder: Path) -> Method:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: method {entry!r} must be a dict with a name and a config")
    where = f"{where}, method {entry.get('name')!r}"
    for key in ("data", "options"):
        if entry.get(key) is not None and not isinstance(entry[key], Mapping):
            raise InputError(f"{where}: {key}={entry[key]!r} must be a dict")
    config, name = entry.get("config"), entry.get("name")
    if not isinstance(config, str) or not isinstance(name, str) or not slug_of(name):
        raise InputError(f"{where}: a method needs a name with letters or digits, and a config")
    try:
        path = find_config(config, near=folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    found = build(Data, entry.get("data") or {}, where)
    return build(Method, {"title": name, **entry, "config": path, "data": found}, where)
