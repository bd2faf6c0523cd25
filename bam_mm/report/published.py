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
        rows: The numbers.
    """

    quantities: Mapping[str, str]
    protocols: Mapping[str, str]
    rows: tuple[Published, ...]

    def quantity(self, key: str) -> str:
        """Describe the quantity of a key."""
        return self.quantities[key.partition(":")[0]]

    def protocol(self, key: str) -> str:
        """Describe the protocol of a key."""
        quantity, _, protocol = key.partition(":")
        return self.protocols[f"{quantity.partition('.')[0]}:{protocol}"]


@cache
def published() -> Library:
    """Read the numbers that are shipped."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    rows = tuple(Published(**{"note": "", **row}) for row in content["rows"])
    return Library(content["quantities"], content["protocols"], rows)


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
        records: Records of any tasks. A task of which a run was limited to some images, or had
            options that differ from the suite, has no published numbers beside it.

    Returns:
        The rows with a number in at least one column, each with its number for each column.
    """
    changed = changed_tasks(records)
    keys = ["" if c.task.name in changed else c.metric.published for c in columns]
    found = [(row, [row.values.get(key) for key in keys]) for row in published().rows]
    return [(row, values) for row, values in found if any(v is not None for v in values)]


def changed_tasks(records: Sequence[Record]) -> set[str]:
    """Return the names of the tasks that did not run as their suite says."""
    done = [r for r in records if r["status"] == DONE]
    return {
        r["task"]
        for r in done
        if r.get("limit") is not None
        or not all(HARMLESS.fullmatch(key) for key in r.get("options") or ())
    }
