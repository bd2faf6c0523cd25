"""Options for all tasks of a suite: each task takes those that its config has a use for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from bam_mm.errors import InputError, UnusedOptionError, listing
from bam_mm.launch.config import load_config
from bam_mm.suite.definitions import Task


def by_task(
    variants: Sequence[tuple[Task, Collection[str]]], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Share out the options for all tasks.

    A warning is logged about the tasks that have no use for one of them.

    Args:
        variants: Each task with the families of the configs that it uses.
        options: Overridden settings by task; those under ``""`` are meant for all tasks.

    Returns:
        Overridden settings by task.

    Raises:
        InputError: If an option for one task does not fit its config, or one for all tasks fits
            none of them.
    """
    common = options.get("", {})
    shared: dict[str, dict[str, Any]] = {
        task.name: {**common, **options.get(task.name, {})} for task, _ in variants
    }
    unused: dict[str, list[tuple[str, UnusedOptionError]]] = {}
    for task, families in variants:
        own = {**task.options, **options.get(task.name, {})}
        _try(task, families, own)
        try:
            _try(task, families, {**own, **common})
            continue
        except UnusedOptionError:
            pass
        for key in [key for key in common if key not in own]:
            try:
                _try(task, families, {**own, key: common[key]})
            except UnusedOptionError as error:
                shared[task.name].pop(key)
                unused.setdefault(key, []).append((task.name, error))
    for key, tasks in unused.items():
        if len(tasks) == len(variants):
            raise tasks[0][1]
        print_log(
            f"--cfg-options {key}: the tasks {listing([name for name, _ in tasks])} have no such "
            "setting and run without it",
            logger="current",
            level=logging.WARNING,
        )
    return shared


def _try(task: Task, families: Collection[str], options: Mapping[str, Any]) -> None:
    if not options:
        return
    for family in families:
        try:
            load_config(task.config[family], options)
        except InputError as error:
            raise type(error)(f"task {task.name}: {error}") from error
