"""Suites and tasks, as the files of ``configs/suites/`` say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.launch.paths import ROOT

FOLDER = ROOT / "configs/suites"

KINDS = ("test", "train")
"""``test``: tools/test.py on the checkpoint; ``train``: tools/train.py, then tools/test.py."""

FAMILIES = ("vit", "cnn", "any")
"""For which backbones a config is meant: with a [CLS] token, without one, or all."""


@dataclass(frozen=True)
class Metric:
    """A number of a task.

    Attributes:
        key: Its key in the metrics that ``tools/test.py --out`` writes.
        label: For people.
        main: Whether it has a column in the leaderboard.
        better: ``higher``, or ``lower``.
        scale: Factor for people; 100 makes per cent of a fraction.
        form: Format of the number.
        published: Its column in :mod:`bam_mm.report.published`.
    """

    key: str
    label: str
    main: bool = False
    better: str = "higher"
    scale: float = 1.0
    form: str = ".1f"
    published: str = ""


@dataclass(frozen=True)
class Data:
    """The data that a task reads.

    Attributes:
        title: For people.
        root: Its folder, below the folder of all data.
        check: A name that ``tools/check_data.py`` knows, or nothing.
        get: How it is got.
    """

    title: str
    root: str
    check: str = ""
    get: str = ""


@dataclass(frozen=True)
class Curve:
    """A curve that a task leaves in its work folder, as a JSON list of rows.

    Attributes:
        file: Below the work folder.
        x: Key of the row.
        y: Other keys, a panel each.
        labels: Of x, then of each y.
        scale: Factor on y.
        log: Whether x is drawn by its logarithm.
    """

    file: str
    x: str
    y: tuple[str, ...]
    labels: tuple[str, ...]
    scale: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class Picture:
    """Pictures that a task leaves in its work folder.

    Attributes:
        pattern: Of their paths below the work folder.
        caption: What is seen.
        most: How many are kept.
    """

    pattern: str
    caption: str
    most: int = 2


@dataclass(frozen=True)
class Task:
    """One protocol.

    Attributes:
        name: Short, for folders and ``--tasks``.
        title: For people.
        about: The protocol in a sentence.
        kind: One of :data:`KINDS`.
        config: The config file by family, below the root of the repository.
        metrics: What is reported.
        data: What it reads.
        cost: About how long it takes, and on what.
        options: Changes to the config, dotted keys.
        seeds: Dotted keys that the seed sets, besides ``randomness.seed``.
        steady: Whether, with trained weights, no random draw takes part: then one seed is run.
        curves: What it leaves to draw.
        pictures: What it leaves to look at.
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
    """Some tasks.

    Attributes:
        name: Name of its file.
        title: For people.
        about: What it is for.
        tasks: In the order of the table.
        look: Patterns below the folder of all data; the attention of each model on the first image
            of each is drawn.
        look_size: Short side of these images in pixels.
    """

    name: str
    title: str
    about: str
    tasks: tuple[Task, ...]
    look: tuple[str, ...] = ()
    look_size: int = 224

    def choose(self, names: list[str] | None) -> tuple[Task, ...]:
        """Tasks by name, all of them for None, in the suite's order.

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


def suite_names() -> list[str]:
    """Names of the repository's suites."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def load_suite(name: str | Path) -> Suite:
    """Read a suite.

    Args:
        name: Of a file of ``configs/suites/``, or the path of one's own.

    Raises:
        InputError: If there is no such suite, or something in it is wrong.
    """
    path = Path(name) if str(name).endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        raise InputError(
            f"suite {str(name)!r}: {path} does not exist; choose one of "
            f"{', '.join(suite_names())}, or give the path of your own (.py)"
        )
    content = Config.fromfile(str(path)).to_dict()
    where = f"suite {path}"
    for key in ("title", "about", "tasks"):
        if not content.get(key):
            raise InputError(f"{where} has no {key}: it is a config with title, about and tasks")
    tasks = tuple(_task(entry, where) for entry in content["tasks"])
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: two tasks have one name among {', '.join(names)}")
    look = tuple(content.get("look", ()))
    size = content.get("look_size", 224)
    return Suite(path.stem, content["title"], content["about"], tasks, look, size)


def _task(entry: Mapping[str, Any], where: str) -> Task:
    where = f"{where}, task {entry.get('name')!r}"
    entry = dict(entry)
    config = entry.get("config")
    configs = {"any": config} if isinstance(config, str) else dict(config or {})
    paths = {family: ROOT / file for family, file in configs.items()}
    for family, path in paths.items():
        if family not in FAMILIES or not path.is_file():
            raise InputError(
                f"{where}: config {family}={path} "
                + ("does not exist" if family in FAMILIES else f"is for none of {FAMILIES}")
                + ": name a file of configs/, or leave the task out"
            )
    if not paths or entry.get("kind") not in KINDS or "/" in str(entry.get("name", "/")):
        raise InputError(
            f"{where}: it needs a name without '/', a config and a kind, one of {', '.join(KINDS)}"
        )
    metrics = tuple(
        _build(Metric, {"key": key, **(m if isinstance(m, Mapping) else {"label": m})}, where)
        for key, m in (entry.get("metrics") or {}).items()
    )
    if not any(metric.main for metric in metrics):
        raise InputError(f"{where}: give one of its metrics main=True, for the leaderboard")
    entry.update(
        config=paths,
        metrics=metrics,
        data=_build(Data, entry.get("data") or {}, where),
        seeds=tuple(entry.get("seeds", ())),
        curves=tuple(_build(Curve, c, where) for c in entry.get("curves", ())),
        pictures=tuple(_build(Picture, p, where) for p in entry.get("pictures", ())),
    )
    return _build(Task, entry, where)


def _build(kind: type, entry: Mapping[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(entry) - known)
    entry = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    try:
        return kind(**entry)
    except TypeError as error:
        what = f"unknown: {', '.join(unknown)}" if unknown else str(error).split(": ")[-1]
        raise InputError(
            f"{where}: {kind.__name__.lower()} of {', '.join(sorted(known))}; {what}"
        ) from error
