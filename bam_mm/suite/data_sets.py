"""Data sets as the tasks and methods of a suite name them."""

from __future__ import annotations

from dataclasses import dataclass


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
