"""Pretraining runs in their work folders: curves over epochs, and reference curves made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bam_mm.checkpoint.recorded_config import parse_assignments
from bam_mm.checkpoint.settings import differences, training_settings
from bam_mm.errors import InputError
from bam_mm.figures.curves import Series, read_scalars
from bam_mm.hooks.reference_curves import QUANTITIES, Band, ReferenceCurves
from bam_mm.version import __version__

POINTS = 100
"""Largest number of points of a quantity in reference curves."""

FEWEST, TOGETHER = 20, 3
"""Number of points up to which none are averaged; above, at least this many are, if possible."""

_EPOCH = re.compile(r"Epoch\(train\) +\[ *\d+\]\[ *\d+/(\d+)\]")
_ITERATION = re.compile(r"Iter\(train\) +\[")
_BATCH = re.compile(r"an epoch has .*\((\d+) x (\d+) process")


@dataclass(frozen=True)
class RecordedRun:
    """A pretraining run, finished or not, as its work folder records it.

    Attributes:
        name: Name for legends and messages.
        folder: Work folder.
        scalars: Logged values, see :func:`~bam_mm.figures.curves.read_scalars`.
        iterations: Number of iterations of an epoch.
        config: Config of the run; settings that are no literals are left out. Empty if the folder
            records none.
        batch: Number of images of an iteration, over all processes; None if it is not recorded.
        images: Number of training images; None if the run has not ended.
        facts: Contents of ``train_facts.json``; empty if the run has not ended.
    """

    name: str
    folder: Path
    scalars: Series
    iterations: int
    config: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    images: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def epochs_of(self, quantity: str) -> list[tuple[float, float]]:
        """Return the pairs (epoch, value) of a quantity; 0.5 is half of the first epoch."""
        points = self.scalars.get(quantity, ())
        return [(step / self.iterations, value) for step, value in points if np.isfinite(value)]

    @property
    def seed(self) -> Any:
        """Seed of the run; None if the config has none."""
        return (self.config.get("randomness") or {}).get("seed")

    @property
    def epochs(self) -> int | None:
        """Number of epochs of the whole training; None if the config does not state it."""
        return (self.config.get("train_cfg") or {}).get("max_epochs")


def read_run(work_dir: str | Path, name: str = "") -> RecordedRun:
    """Read a run from its work folder.

    Args:
        work_dir: Work folder.
        name: Name of the run; empty takes that of the folder.

    Raises:
        InputError: If the folder has no log, or a log without epochs, or if its
            ``train_facts.json`` is damaged.
    """
    folder = Path(work_dir).expanduser()
    scalars = read_scalars(folder)
    log = _newest_log(folder)
    facts = _facts_of(folder / "train_facts.json")
    loader = (facts.get("loaders") or {}).get("train") or {}
    batch = loader["batch"] * facts.get("processes", 1) if "batch" in loader else log.batch
    return RecordedRun(
        name=name or folder.resolve().name,
        folder=folder,
        scalars=scalars,
        iterations=log.iterations,
        config=_config_of(log.file),
        batch=batch,
        images=loader.get("images"),
        facts=facts,
    )


def reference_of(
    runs: Sequence[RecordedRun], *, title: str | None = None, dataset: str | None = None
) -> ReferenceCurves:
    """Make reference curves of finished runs of the same config with different seeds.

    Args:
        runs: The runs, at least one.
        title: Title for readers; None makes one of config, data set and number of seeds.
        dataset: Name of the training set; None takes its folder in the config.

    Raises:
        InputError: If a run has not ended, if the runs differ in more than the seed, if two have
            the same seed, or if they logged none of the quantities at the same iterations.
    """
    for run in runs:
        if run.images is None or run.batch is None or run.epochs is None:
            raise InputError(
                f"{run.folder} holds no finished training of bam-mm train by epochs (no complete "
                "train_facts.json): wait until the run has ended"
            )
    first = runs[0]
    for run in runs[1:]:
        _check_same(first, run)
    seeds = [run.seed for run in runs]
    if twice := {seed for seed in seeds if seeds.count(seed) > 1 and seed is not None}:
        raise InputError(
            f"{' and '.join(str(r.folder) for r in runs if r.seed in twice)} have the same "
            f"randomness.seed={min(twice)}: pass runs of different seeds"
        )
    series = {name: band for name in QUANTITIES if (band := _band(runs, name)) is not None}
    if not series:
        raise InputError(
            f"{first.folder}: none of {', '.join(QUANTITIES)} was logged (at iterations that all "
            "runs share); pass work folders of pretraining runs"
        )
    config, data = _config_name(first.folder), dataset or _dataset_of(first)
    count = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
    assert first.images and first.batch and first.epochs  # Checked above.
    return ReferenceCurves(
        title=title or f"{config} on {data}, {count}",
        method=str(first.config.get("model", {}).get("type", "")).rpartition(".")[2],
        config=config,
        dataset=data,
        images=first.images,
        batch=first.batch,
        epochs=first.epochs,
        iterations=first.iterations,
        seeds=len(runs),
        versions={"bam-mm": __version__, "torch": torch.__version__},
        hardware=_hardware(first),
        series=series,
    )


def _check_same(first: RecordedRun, run: RecordedRun) -> None:
    """Check that two runs differ in nothing but their seeds."""
    old, new = (training_settings(r.config) for r in (first, run))
    for settings in (old, new):
        settings.pop("randomness", None)
    found = differences(old, new)
    for name in ("images", "batch", "epochs", "iterations"):
        before, after = getattr(first, name), getattr(run, name)
        if before != after:
            found.append(f"{name}: {before} -> {after}")
    if found:
        raise InputError(
            f"{first.folder} and {run.folder} are runs of different settings ({'; '.join(found)}): "
            "reference curves are made of runs that differ in randomness.seed alone"
        )


def _band(runs: Sequence[RecordedRun], quantity: str) -> Band | None:
    """Thin a quantity to at most POINTS points, and take its range over the runs."""
    curves = [dict(run.epochs_of(quantity)) for run in runs]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not epochs:
        return None
    if quantity.startswith("knn/"):
        # A mean would mix the untrained network with trained ones.
        places = np.linspace(0, len(epochs) - 1, min(len(epochs), POINTS)).round().astype(int)
        bins = [np.array([epochs[place]]) for place in places]
    else:
        # Single iterations scatter more than the seeds differ.
        count = min(POINTS, max(FEWEST, len(epochs) // TOGETHER), len(epochs))
        bins = np.array_split(np.array(epochs), count)
    values = np.array([[np.mean([curve[x] for x in part]) for part in bins] for curve in curves])
    low, high = values.min(axis=0), values.max(axis=0)
    return Band(
        epoch=tuple(float(part.mean()) for part in bins),
        mean=tuple(np.clip(values.mean(axis=0), low, high).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


@dataclass(frozen=True)
class _Log:
    """What the newest log of a training states."""

    file: Path
    iterations: int
    batch: int | None


def _newest_log(folder: Path) -> _Log:
    by_iterations = False
    for file in sorted(folder.glob("*/*.log"), reverse=True):
        text = file.read_text(errors="replace")
        if found := _EPOCH.search(text):
            shape = _BATCH.search(text)
            batch = int(shape[1]) * int(shape[2]) if shape else None
            return _Log(file, int(found[1]), batch)
        by_iterations |= bool(_ITERATION.search(text))
    if by_iterations:
        raise InputError(
            f"{folder} holds a training that counts iterations, not epochs: only trainings with "
            "train_cfg.type='EpochBasedTrainLoop' can be compared over epochs"
        )
    raise InputError(
        f"{folder} contains no log (<time>/<time>.log) with a line of a training, such as "
        "Epoch(train) [1][50/195]: wait for its first line, or set log_level=INFO in the run"
    )


def _config_of(log: Path) -> Mapping[str, Any]:
    path = log.parent / "vis_data/config.py"
    if not path.is_file():
        return {}
    try:
        return parse_assignments(path.read_text())[0]  # Runs no code.
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not the config of a run ({error}); restore it") from error


def _facts_of(path: Path) -> Mapping[str, Any]:
    """Read the facts of a finished training; {} if there are none."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text())
        loader = (facts.get("loaders") or {}).get("train") or {}
        counts = [facts.get("processes", 1)]
        counts += [loader[key] for key in ("batch", "images") if key in loader]
        if not all(isinstance(count, int) for count in counts):
            raise ValueError(f"{counts} are no integers")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not the facts of a training ({error}); restore it, or delete it to read the "
            "run as one that has not ended"
        ) from error
    return facts


def _config_name(folder: Path) -> str:
    # A suite writes a config for each run, and beside it the name of the one that it comes from.
    try:
        return str(json.loads((folder / "plan.json").read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Not a run of a suite, or one of an earlier version.
    # mmengine copies the config there under its name.
    path = max(folder.glob("*.py"), key=lambda p: (p.stat().st_mtime, p.name), default=None)
    return path.stem if path else folder.resolve().name


def _dataset_of(run: RecordedRun) -> str:
    dataset: Any = (run.config.get("train_dataloader") or {}).get("dataset") or {}
    while isinstance(dataset.get("dataset"), Mapping):  # Wrappers such as RepeatDataset.
        dataset = dataset["dataset"]
    root = Path(str(dataset.get("data_root") or dataset.get("type") or "unknown"))
    # No places of this machine.
    return root.name if root.is_absolute() else str(root)


def _hardware(run: RecordedRun) -> str:
    devices = [str(d).replace("cpu", "CPU") for d in run.facts.get("devices") or ["unknown device"]]
    return f"{run.facts.get('processes', 1)} x {', '.join(devices)}"
