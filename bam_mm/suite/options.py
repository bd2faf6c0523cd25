"""Options for all tasks of a suite: each task takes those that its config has a use for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from mmengine.logging import print_log

from bam_mm.errors import InputError, UnusedOptionError, listing
from bam_mm.launch.config import load_config
from bam_mm.suite.definitions import Task
from bam_mm.suite.methods import PRETRAIN


class OptionSharing:
    """Shares out the options of a call among tasks and methods, one after the other.

    Args:
        options: Overridden settings by task or method; those under ``""`` are meant for all, and
            those under ``pretrain`` for all methods.
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self._options = options
        self._labels: list[str] = []
        self._unused: dict[str, list[tuple[str, UnusedOptionError]]] = {}

    def of_task(self, task: Task, families: Collection[str]) -> dict[str, Any]:
        """Return the overridden settings of a task.

        Args:
            task: The task.
            families: Families of the configs that it uses.

        Raises:
            InputError: If an option for this task does not fit its config.
        """
        return self._share(task, families, self._options.get(task.name, {}), task.name)

    def of_method(self, task: Task, method: str) -> dict[str, Any]:
        """Return the overridden settings of the pretraining of a method.

        Args:
            task: The task of pretraining it, see :func:`~bam_mm.suite.pretraining.method_task`.
            method: Name of the method.

        Raises:
            InputError: If an option for this method, or for all of them, does not fit its config.
        """
        given = {**self._options.get(task.name, {}), **self._options.get(method, {})}
        return self._share(task, [method], given, f"pretraining of {method}")

    def report(self) -> None:
        """Log a warning about each option for all that some have no use for.

        Raises:
            UnusedOptionError: If an option fits none of them.
        """
        for key, found in self._unused.items():
            if len(found) == len(self._labels):
                raise found[0][1]
            print_log(
                f"--cfg-options {key}: the tasks {listing([label for label, _ in found])} have no "
                "such setting and run without it",
                logger="current",
                level=logging.WARNING,
            )

    def _share(
        self, task: Task, families: Collection[str], given: Mapping[str, Any], label: str
    ) -> dict[str, Any]:
        self._labels.append(label)
        common = self._options.get("", {})
        own = {**task.options, **given}
        _try(task, families, own)
        try:
            _try(task, families, {**own, **common})
            return {**common, **given}
        except UnusedOptionError:
            pass
        shared = {**common, **given}
        for key in [key for key in common if key not in own]:
            try:
                _try(task, families, {**own, key: common[key]})
            except UnusedOptionError as error:
                shared.pop(key)
                self._unused.setdefault(key, []).append((label, error))
        return shared


def _try(task: Task, families: Collection[str], options: Mapping[str, Any]) -> None:
    if not options:
        return
    for family in families:
        try:
            load_config(task.config[family], options)
        except InputError as error:
            name = f"method {family}" if task.kind == PRETRAIN else f"task {task.name}"
            raise type(error)(f"{name}: {error}") from error
