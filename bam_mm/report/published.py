"""Published numbers, which the report shows with their sources and never as measured here.

They stand in ``published.json``, with the ``quantities`` and ``protocols`` that they are numbers
of. A key such as ``linear:dino`` is a quantity and a protocol; a metric of a suite names its own
with ``published=``. Only numbers of the same key can stand beside those of the metric.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bam_mm.report.summary import Column
from bam_mm.suite.records import DONE

Record = Mapping[str, Any]

FILE = Path(__file__).with_name("published.json")

HARMLESS = re.compile(
    r"cache_dir|(.+\.)?num_workers|test_dataloader\.batch_size|test_cfg\.\w+\.batch_size"
)
"""Options with which a task still has its protocol."""

BATCH = re.compile(r"(?<![^_-])(\d+)xb(\d+)(?![^_-])")
"""Processes and images of each in the name of a training's config."""


@dataclass(frozen=True)
class Published:
    """Published numbers of one model from one source.

    Attributes:
        method: Pretraining method.
        backbone: Network that was pretrained.
        epochs: Epochs of the pretraining; None if they are not known.
        note: What else the pretraining is told apart by, ``""`` for nothing.
        source: Paper, with its table if it is known, or repository.
        values: Numbers by key, ``QUANTITY:PROTOCOL``.
    """

    method: str
    backbone: str
    epochs: int | None
    note: str
    source: str
    values: Mapping[str, float]

    @property
    def name(self) -> str:
        """Method, backbone and setting, such as ``DINO, ViT-S/16, 300 epochs, 10 crops``."""
        epochs = "" if self.epochs is None else f"{self.epochs} epochs"
        return ", ".join(filter(None, (self.method, self.backbone, epochs, self.note)))


@dataclass(frozen=True)
class Library:
    """All published numbers.

    Attributes:
        quantities: Descriptions by quantity, the part of a key before the colon.
        protocols: Descriptions by protocol: a key without the part between full stop and colon.
        families: Families of backbones, see :data:`~bam_mm.suite.definitions.FAMILIES`, by
            protocol; one that is not among them is for every backbone.
        rows: The numbers.
    """

    quantities: Mapping[str, str]
    protocols: Mapping[str, str]
    families: Mapping[str, str]
    rows: tuple[Published, ...]

    def quantity(self, key: str) -> str:
        """Describe the quantity of a key."""
        return self.quantities[key.partition(":")[0]]

    def protocol(self, key: str) -> str:
        """Describe the protocol of a key."""
        return self.protocols[_protocol_of(key)]

    def family(self, key: str) -> str:
        """Return the family of backbones that the protocol of a key is for, ``any`` for all."""
        return self.families.get(_protocol_of(key), "any")


def _protocol_of(key: str) -> str:
    quantity, _, protocol = key.partition(":")
    return f"{quantity.partition('.')[0]}:{protocol}"


@cache
def published() -> Library:
    """Read the numbers that are shipped."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    rows = tuple(Published(**{"note": "", **row}) for row in content["rows"])
    return Library(content["quantities"], content["protocols"], content["families"], rows)


def published_numbers(columns: Sequence[Column]) -> list[tuple[str, Published, str]]:
    """Return the numbers of the quantities of some columns, in whatever protocol.

    Args:
        columns: Columns of tasks.

    Returns:
        The key, the row and the title of the column with this key, ``""`` if there is none, for
        each number.
    """
    titles = {c.metric.published: f"{c.task.title}, {c.metric.label}" for c in columns}
    wanted = dict.fromkeys(name.partition(":")[0] for name in titles if name)
    return [
        (key, row, titles.get(key, ""))
        for quantity in wanted
        for row in published().rows
        for key in row.values
        if key.partition(":")[0] == quantity
    ]


def rows_beside(
    columns: Sequence[Column], records: Sequence[Record]
) -> list[tuple[Published, list[float | None]]]:
    """Return the published rows that can stand below the measured ones of a table.

    Args:
        columns: Columns of the table.
        records: Records of any tasks. Beside those of :func:`changed_tasks`, there are no published
            numbers.

    Returns:
        The rows with a number in at least one column, each with its number for each column.
    """
    changed = changed_tasks(columns, records)
    keys = ["" if c.task.name in changed else c.metric.published for c in columns]
    found = [(row, [row.values.get(key) for key in keys]) for row in published().rows]
    return [(row, values) for row, values in found if any(v is not None for v in values)]


def changed_tasks(columns: Sequence[Column], records: Sequence[Record]) -> set[str]:
    """Return the names of the tasks of which a run had another protocol than published numbers.

    Args:
        columns: Columns of tasks; those without published numbers do not count.
        records: Records of any tasks.

    Returns:
        Tasks of which a finished run was limited to some images, had options that differ from the
        suite, images of another size, a training batch other than in the name of its config, or a
        backbone of a family that the published protocol is not for.
    """
    done = [r for r in records if r["status"] == DONE]
    return {
        column.task.name
        for column in columns
        if column.metric.published
        for record in done
        if record["task"] == column.task.name and not _as_published(column, record)
    }


def _as_published(column: Column, record: Record) -> bool:
    family = published().family(column.metric.published)
    # In records of earlier versions, only the config tells the family.
    found = record.get("family") or record["variant"]
    return (
        record.get("limit") is None
        and all(HARMLESS.fullmatch(key) for key in record.get("options") or ())
        and record["model"].get("size") is None
        and _batch_of_config(column, record)
        and family in ("any", found)
    )


def _batch_of_config(column: Column, record: Record) -> bool:
    """Whether a training had the batch of ``8xb128`` in the name of its config, here 1024."""
    path = column.task.config.get(record["variant"])
    named = BATCH.search(path.stem) if column.task.kind == "train" and path is not None else None
    return named is None or record["protocol"].get("batch") == int(named[1]) * int(named[2])
