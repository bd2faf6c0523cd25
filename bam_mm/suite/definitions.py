"""Suites and tasks as defined by the files in ``configs/suites/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bam_mm.errors import InputError
from bam_mm.launch.config_file import read_config
from bam_mm.launch.paths import find_config
from bam_mm.registry import CONFIGS
from bam_mm.suite.entries import BETTER, Data, Metric, build
from bam_mm.suite.methods import METRICS, PRETRAIN, Method, read_methods

FOLDER = CONFIGS / "suites"

KINDS = ("test", "train")
"""``test`` runs `bam-mm test` on the checkpoint; ``train`` runs `bam-mm train` before it."""

FAMILIES = ("vit", "cnn", "layernorm", "any")
"""The backbones that a config is meant for.

``vit`` are transformers with tokens or blocks of one stride, ``cnn`` all others. ``layernorm`` are
those of the others that normalise without BatchNorm, such as Swin, ConvNeXt and CAFormer; a task
without such a config uses that for ``cnn``. ``any`` is for every backbone.
"""


def variant_of(configs: Mapping[str, Any], family: str) -> str:
    """Choose the key of a config for a family of backbones.

    Args:
        configs: Values by family.
        family: One of :data:`FAMILIES`.

    Returns:
        The family, or what stands for it: ``cnn`` for ``layernorm``, and ``any``. If there is none
        of these, the first key.
    """
    for name in (family, "cnn" if family == "layernorm" else family, "any"):
        if name in configs:
            return name
    return next(iter(configs))


@dataclass(frozen=True)
class Curve:
    """A curve that a task writes to its work folder, as a JSON list of rows.

    Attributes:
        file: Path of the JSON file, relative to the work folder.
        x: Key of the x value in a row.
        y: Keys of the y values in a row; each has its own panel.
        labels: Axis labels of x and of each y.
        scale: Factor for the y values.
        log: Whether the x axis is logarithmic.
        lines: Key of the name of the line that a row belongs to. Each model then has a panel of its
            own, with one line for each name. ``""`` for one line of all rows.
    """

    file: str
    x: str
    y: tuple[str, ...]
    labels: tuple[str, ...]
    scale: float = 1.0
    log: bool = False
    lines: str = ""


@dataclass(frozen=True)
class Picture:
    """Pictures that a task writes to its work folder.

    Attributes:
        pattern: Glob pattern of the files, relative to the work folder.
        caption: Description of what the pictures show.
        most: Maximum number of pictures in the record.
    """

    pattern: str
    caption: str
    most: int = 2


@dataclass(frozen=True)
class Task:
    """An evaluation protocol on one data set.

    Attributes:
        name: Short name for folders and ``--tasks``.
        title: Name for display.
        about: One-sentence description of the protocol. Keys in braces stand for the settings of
            the runs, see :func:`~bam_mm.suite.protocol.filled_in`.
        kind: One of :data:`KINDS`, or :data:`~bam_mm.suite.methods.PRETRAIN`.
        config: Path of the config file for each family, see :data:`FAMILIES`; in a suite file, a
            name in ``configs/`` or a path, also relative to the suite file.
        metrics: Metrics to report.
        data: Data set that the task reads.
        cost: Approximate duration, and the hardware if it is not a CPU.
        options: Overridden settings of the config, by dotted key.
        seeds: Dotted keys that the seed sets in addition to ``randomness.seed``.
        steady: Whether the result is deterministic for trained weights, so that one seed is enough.
        curves: Curves to copy into the record.
        pictures: Pictures to list in the record.
    """

    name: str
    title: str
    about: str
    kind: str
    config: Mapping[str, Path]
    metrics: tuple[Metric, ...]
    data: Data
    cost: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[str, ...] = ()
    steady: bool = False
    curves: tuple[Curve, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A set of tasks.

    Attributes:
        name: Name of the suite's file, without the extension.
        title: Name for display.
        about: Description of the suite.
        tasks: Tasks in the order of the tables.
        look: Glob patterns relative to the folder of all data sets. The attention of each model is
            drawn on the first image that matches each pattern.
        look_size: Short side of these images in pixels, for models without a size of their own.
        methods: Methods that the suite pretrains, and evaluates in all other tasks. The first task
            is then the pretraining.
    """

    name: str
    title: str
    about: str
    tasks: tuple[Task, ...]
    look: tuple[str, ...] = ()
    look_size: int = 224
    methods: tuple[Method, ...] = ()

    def choose(self, names: list[str] | None) -> tuple[Task, ...]:
        """Choose tasks by name.

        Args:
            names: Names of tasks, None for all.

        Returns:
            The tasks in the suite's order.

        Raises:
            InputError: If a name is unknown.
        """
        known = [task.name for task in self.tasks]
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise InputError(
                f"--tasks {' '.join(unknown)}: the suite {self.name} has {', '.join(known)}"
            )
        return tuple(task for task in self.tasks if names is None or task.name in names)

    def choose_methods(self, names: list[str] | None) -> tuple[Method, ...]:
        """Choose methods to pretrain by name.

        Args:
            names: Names of methods, None for all.

        Returns:
            The methods in the suite's order.

        Raises:
            InputError: If a name is unknown, or the suite pretrains nothing.
        """
        known = [method.name for method in self.methods]
        unknown = [name for name in names or () if name not in known]
        if unknown:
            has = f"has {', '.join(known)}" if known else "pretrains nothing; leave the option out"
            raise InputError(f"--methods {' '.join(unknown)}: the suite {self.name} {has}")
        return tuple(each for each in self.methods if names is None or each.name in names)


def suite_names() -> list[str]:
    """Return the names of the suites in ``configs/suites/``."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def load_suite(name: str | Path) -> Suite:
    """Read a suite.

    Args:
        name: Name of a file in ``configs/suites/`` without the extension, or a path to a ``.py``
            file.

    Raises:
        InputError: If the suite does not exist or is invalid.
    """
    path = Path(name) if str(name).endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        raise InputError(
            f"suite {str(name)!r}: {path} does not exist; choose one of "
            f"{', '.join(suite_names())}, or pass the path of your own .py file"
        )
    content = read_config(path).to_dict()
    where = f"suite {path}"
    for key in ("title", "about", "tasks"):
        if not content.get(key):
            raise InputError(f"{where} has no {key}: a suite needs title, about and tasks")
    if not isinstance(content["tasks"], (list, tuple)):
        raise InputError(f"{where}: tasks must be a list of dicts, one for each task")
    methods = read_methods(content.get("pretraining") or (), where, path.parent)
    tasks = tuple(_task(entry, where, path.parent) for entry in content["tasks"])
    tasks = (*_pretraining(methods), *tasks)
    names = [task.name for task in tasks] + [method.name for method in methods]
    if len(set(names)) != len(names):
        raise InputError(
            f"{where}: task {'and method ' if methods else ''}names must be unique, but they are "
            f"{', '.join(names)}"
        )
    look = tuple(content.get("look", ()))
    size = content.get("look_size", 224)
    return Suite(path.stem, content["title"], content["about"], tasks, look, size, methods)


def _pretraining(methods: tuple[Method, ...]) -> tuple[Task, ...]:
    """Return the task that the pretraining of all methods is, with a config for each method."""
    if not methods:
        return ()
    about = "{train_cfg.max_epochs} epochs, {batch} images a step"
    configs = {method.name: method.config for method in methods}
    data, cost = methods[0].data, methods[0].cost
    return (Task(PRETRAIN, "Pretraining", about, PRETRAIN, configs, METRICS, data, cost),)


_KINDS_OF_FIELDS = (
    ((Mapping,), "a dict", ("metrics", "data", "options")),
    ((list, tuple), "a list", ("seeds", "curves", "pictures")),
    ((str, Mapping), "a text, or a dict with one for each family", ("config",)),
)
"""Types of the fields of a task that have one, and the same in words."""


def _task(entry: Mapping[str, Any], where: str, folder: Path) -> Task:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: task {entry!r} must be a dict with a name, a config and a kind")
    where = f"{where}, task {entry.get('name')!r}"
    for kinds, words, keys in _KINDS_OF_FIELDS:
        for key in keys:
            if entry.get(key) is not None and not isinstance(entry[key], kinds):
                raise InputError(f"{where}: {key}={entry[key]!r} must be {words}")
    entry = dict(entry)
    config = entry.get("config")
    configs = {"any": config} if isinstance(config, str) else dict(config or {})
    paths = {}
    for family, file in configs.items():
        if family not in FAMILIES:
            raise InputError(
                f"{where}: config {family}={file} has an unknown family; "
                f"choose one of {', '.join(FAMILIES)}"
            )
        try:
            paths[family] = find_config(file, near=folder)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if not paths or entry.get("kind") not in KINDS or "/" in str(entry.get("name", "/")):
        raise InputError(
            f"{where}: a task needs a name without '/', a config and a kind, "
            f"one of {', '.join(KINDS)}"
        )
    metrics = tuple(
        build(Metric, {"key": key, **(m if isinstance(m, Mapping) else {"label": m})}, where)
        for key, m in (entry.get("metrics") or {}).items()
    )
    for metric in metrics:
        if metric.better not in BETTER:
            raise InputError(
                f"{where}: metric {metric.key} has better={metric.better!r}; choose one of "
                f"{', '.join(BETTER)}"
            )
    if not any(metric.main and metric.better != "neither" for metric in metrics):
        raise InputError(
            f"{where}: set main=True for one of the metrics, for the leaderboard; a setting that "
            "was chosen (better='neither') is not enough"
        )
    entry.update(
        config=paths,
        metrics=metrics,
        data=build(Data, entry.get("data") or {}, where),
        seeds=tuple(entry.get("seeds", ())),
        curves=tuple(build(Curve, c, where) for c in entry.get("curves", ())),
        pictures=tuple(build(Picture, p, where) for p in entry.get("pictures", ())),
    )
    return build(Task, entry, where)
