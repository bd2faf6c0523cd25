"""Entries of suite files that tasks and methods share: data sets and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bam_mm.errors import InputError

BETTER = ("higher", "lower", "neither")
"""Which values of a metric are better; ``neither`` is for a setting that a run has chosen."""


@dataclass(frozen=True)
class Data:
    """The data set that a task or a pretraining reads.

    Attributes:
        title: Name for display.
        root: Folder of the data set, relative to the folder of all data sets.
        check: Name for ``bam-mm check-data``, ``""`` for no check.
        get: Command or hint for obtaining the data.
    """

    title: str
    root: str
    check: str = ""
    get: str = ""


@dataclass(frozen=True)
class Metric:
    """A metric of a task.

    Attributes:
        key: Key in the metrics that ``bam-mm test --out`` writes.
        label: Name in tables and logs.
        main: Whether the metric has a column in the leaderboard.
        better: One of :data:`BETTER`.
        scale: Factor for display; 100 turns a fraction into per cent.
        form: Format specification for display.
        published: Quantity and protocol, ``QUANTITY:PROTOCOL``, of published numbers of this metric
            in ``report/published.json``; without a protocol, they are never set beside the measured
            ones. ``""`` for none.
        timed: Whether the value depends on the machine and its load, so that no model is marked as
            the best if these differ.
    """

    key: str
    label: str
    main: bool = False
    better: str = "higher"
    scale: float = 1.0
    form: str = ".1f"
    published: str = ""
    timed: bool = False


def build(kind: type, entry: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from an entry of a suite file.

    Args:
        kind: The dataclass.
        entry: Values of its fields.
        where: Suite and part of it that the entry belongs to, for the message.

    Raises:
        InputError: If a key is unknown or missing.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(entry) - known)
    entry = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    try:
        return kind(**entry)
    except TypeError as error:
        if unknown:
            problem = f"unknown: {', '.join(unknown)}"
        else:  # The error ends with the missing keys: "...: 'title' and 'root'".
            problem = f"missing: {str(error).split(': ')[-1]}"
        raise InputError(
            f"{where}: invalid {kind.__name__.lower()} ({problem}); "
            f"known keys: {', '.join(sorted(known))}"
        ) from error
