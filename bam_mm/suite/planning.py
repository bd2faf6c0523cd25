"""Plan the runs: one for each model, task and seed, with its config and its protocol."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.errors import InputError, listing
from bam_mm.launch.batches import explicit_batches
from bam_mm.launch.config import load_config, replace
from bam_mm.launch.preprocessing import described, explicit, set_size, settle
from bam_mm.suite.definitions import Suite, Task, variant_of
from bam_mm.suite.fitting import add_imports, family_of, fit
from bam_mm.suite.limiting import check_limit, limit_data
from bam_mm.suite.methods import PRETRAIN, Method
from bam_mm.suite.models import Model
from bam_mm.suite.options import OptionSharing
from bam_mm.suite.pretraining import (
    add_measurements,
    method_model,
    method_task,
    pretrained,
    pretraining_protocol,
)
from bam_mm.suite.protocol import batch_of, protocol_of
from bam_mm.suite.records import record_path, run_folder


@dataclass(frozen=True)
class Settings:
    """Settings that the runs of one call of ``bam-mm benchmark run`` share.

    Attributes:
        folder: Work folder of the benchmark.
        data: Folder of all data sets.
        limit: Maximum number of images (or videos) of each data set, None for all.
        launcher: One of :data:`~bam_mm.suite.child_process.LAUNCHERS`.
        processes: Number of processes of each run.
        options: Overridden settings of the configs, by task, or by method for its pretraining;
            those under ``""`` apply to all tasks that have a use for them. In a run, they are
            shared out.
        trust: Whether code in checkpoints may run.
        vis: Backends that curves and pictures are sent to, as ``bam-mm train --vis`` takes them.
    """

    folder: Path
    data: Path = Path("data")
    limit: int | None = None
    launcher: str = "none"
    processes: int = 1
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trust: bool = False
    vis: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """One task for one model and seed.

    Attributes:
        suite: The suite.
        task: The task.
        model: The model.
        seed: Random seed.
        settings: Settings of the call.
        variant: Family of the config that is used, see :data:`~bam_mm.suite.definitions.FAMILIES`;
            the name of the method for a pretraining.
        protocol: Settings that determine the result, apart from model and seed.
        facts: Format, seed and size of generated data, empty for other data.
        features: Whether the task reads frozen features, which the cache keeps for other tasks.
        family: Family of the model's backbone, which may use the config of another one.
        pretraining: Run that pretrains the weights, which this one has to wait for; None for none.
    """

    suite: Suite
    task: Task
    model: Model
    seed: int
    settings: Settings
    variant: str
    protocol: dict[str, Any]
    facts: dict[str, Any]
    features: bool = False
    family: str = ""
    pretraining: Run | None = None

    @property
    def folder(self) -> Path:
        """Work folder of the run."""
        return run_folder(self.settings.folder, self.model.slug, self.task.name, self.seed)

    @property
    def record(self) -> Path:
        """Path of the run's record."""
        return record_path(self.settings.folder, self.model.slug, self.task.name, self.seed)

    @property
    def bundle(self) -> str:
        """Name that the run shares with those that read the same features; ``""`` if none can.

        These are the tasks of a model on one data set; random weights, and those that the suite
        pretrains, depend on the seed.
        """
        if not self.features:
            return ""
        steady = self.model.trained and not self.model.method
        seed = "" if steady else f"-seed{self.seed}"
        data = re.sub(r"[^\w.-]+", "-", self.task.data.root)
        return f"{self.model.slug}/features-{data}{seed}"

    @property
    def claims(self) -> list[Path]:
        """Files that a worker claims: first that of the bundle, whose features are computed once.

        That of the run is beside its record.
        """
        bundle = [self.settings.folder / "records" / f"{self.bundle}.claim"] if self.bundle else []
        return [*bundle, self.record.with_suffix(".claim")]

    @property
    def options(self) -> dict[str, Any]:
        """Overridden settings of the task's config, by dotted key: the suite's and the user's."""
        return {**self.task.options, **self.user_options}

    @property
    def user_options(self) -> dict[str, Any]:
        """Settings in which the run differs from the suite, by dotted key."""
        name = self.variant if self.task.kind == PRETRAIN else self.task.name
        return {**self.settings.options.get(name, {})}

    def explicit_batches(self) -> dict[str, int]:
        """Return the batch sizes of evaluations that the suite or the user has set."""
        config = load_config(self.task.config[self.variant], self.options)
        return explicit_batches(config, self.options)

    def __str__(self) -> str:
        return f"{self.task.name}, {self.model.name}, seed {self.seed}"

    def config(self) -> tuple[Config, list[str]]:
        """Build the config of the run.

        Returns:
            The config, and the settings besides the backbone that had to change for the model.

        Raises:
            InputError: If the model cannot do the task, or if an option is invalid.
        """
        root = str(self.settings.data / self.task.data.root)
        options = self.options
        # Not every config has a folder of data.
        config = load_config(self.task.config[self.variant], {**options, "+data_root": root})
        adapted = [] if self.task.kind == PRETRAIN else self._fit(config)
        config.merge_from_dict(dict.fromkeys(("randomness.seed", *self.task.seeds), self.seed))
        if "cache_dir" in config:
            cache = str(self.settings.folder / "features")
            replace(config._cfg_dict, ["cache_dir"], lambda _: cache)
        if self.task.kind != "test" and config.get("default_hooks", {}).get("checkpoint"):
            config.default_hooks.checkpoint.max_keep_ckpts = 1
        if self.settings.limit is not None:
            limit_data(config, self.settings.limit)
        if self.task.kind == PRETRAIN:
            adapted = add_measurements(config, limit=self.settings.limit)
        config.work_dir = str(self.folder)
        return config, adapted

    def _fit(self, config: Config) -> list[str]:
        """Put the model into a config, and return what had to change."""
        add_imports(config, self.model.imports)
        if self.model.size is not None:
            set_size(config, self.model.size, f"--size {self.model.size}")
        # Before the model is fitted, because the size of the images decides what fits.
        source = self.model.source
        named = source.config if source.path is not None else None
        decision = settle(config, self.model.preprocessing, options=self.options, backbone=named)
        config.preprocessing = explicit(decision.used)
        return [*fit(config, self.model), *described(decision)]

    def with_checkpoint(self) -> Run:
        """Return the run with the checkpoint that its pretraining has left, if it has one.

        Raises:
            InputError: If the pretraining has no result.
        """
        if self.pretraining is None:
            return self
        model = pretrained(self.model, self.seed, self.settings.folder)
        return dataclasses.replace(self, model=model)


def plan(
    suite: Suite,
    tasks: Sequence[Task],
    models: Sequence[Model],
    seeds: Sequence[int],
    settings: Settings,
    methods: Sequence[Method] = (),
) -> list[Run]:
    """List all requested runs, task by task; first the pretraining of each method and seed.

    A task with a deterministic result (``steady``) gets only the first seed for a trained model,
    but all of them for a method, whose weights differ between the seeds.

    Args:
        suite: The suite.
        tasks: Tasks of the suite to run.
        models: Models to evaluate.
        seeds: Random seeds.
        settings: Settings of the call.
        methods: Methods of the suite to pretrain and to evaluate, even if ``tasks`` lacks the
            pretraining.

    Raises:
        InputError: If an option or the limit is invalid.
    """
    known = [task.name for task in suite.tasks] + [method.name for method in suite.methods]
    unknown = sorted({*settings.options} - {"", *known})
    if unknown:
        raise InputError(
            f"--cfg-options {unknown[0]}:...: the suite {suite.name} has no such task; it has "
            f"{', '.join(known)}"
        )
    if settings.limit is not None:
        check_limit(settings.limit)
    sharing = OptionSharing(settings.options)
    pretrainings = [
        run for method in methods for run in _pretrainings(suite, method, seeds, settings, sharing)
    ]
    pretrained_models = {run.model.slug: run.model for run in pretrainings}
    families = {run.model.slug: run.family for run in pretrainings}
    families.update({model.slug: family_of(model) for model in models})
    tasks = [task for task in tasks if task.kind != PRETRAIN]
    used = {t.name: {variant_of(t.config, each) for each in families.values()} for t in tasks}
    options = {task.name: sharing.of_task(task, used[task.name]) for task in tasks}
    sharing.report()
    settings = dataclasses.replace(settings, options=options)
    evaluated = [(m, families[m.slug]) for m in (*pretrained_models.values(), *models)]
    evaluations = _evaluations(suite, tasks, evaluated, seeds, settings, pretrainings)
    return [*pretrainings, *evaluations]


def _pretrainings(
    suite: Suite,
    method: Method,
    seeds: Sequence[int],
    settings: Settings,
    sharing: OptionSharing,
) -> list[Run]:
    task = method_task(suite.tasks[0], method)
    own = {method.name: sharing.of_method(task, method.name)}
    settings = dataclasses.replace(settings, options=own)
    options = {**task.options, **own[method.name]}
    model = method_model(method, options, processes=settings.processes, limit=settings.limit)
    family = family_of(model)
    draft = Run(suite, task, model, 0, settings, method.name, {}, {}, family=family)
    return [_with_protocol(dataclasses.replace(draft, seed=seed)) for seed in seeds]


def _evaluations(
    suite: Suite,
    tasks: Sequence[Task],
    models: Sequence[tuple[Model, str]],
    seeds: Sequence[int],
    settings: Settings,
    pretrainings: Sequence[Run],
) -> list[Run]:
    """List the runs of all tasks for models and the families of their backbones."""
    needed = {(run.model.slug, run.seed): run for run in pretrainings}
    runs = []
    for task in tasks:
        for model, family in models:
            steady = task.steady and model.trained and not model.method
            for seed in seeds[:1] if steady else seeds:
                draft = Run(
                    suite, task, model, seed, settings, variant_of(task.config, family), {}, {},
                    family=family, pretraining=needed.get((model.slug, seed)),
                )  # fmt: skip
                runs.append(_with_protocol(draft))
    return runs


def _with_protocol(draft: Run) -> Run:
    task, settings = draft.task, draft.settings
    config = load_config(task.config[draft.variant], draft.options)
    if task.kind == PRETRAIN:
        protocol = pretraining_protocol(config, processes=settings.processes, limit=settings.limit)
    else:
        batch = batch_of(config, settings.processes) if task.kind == "train" else None
        protocol = protocol_of(config, batch=batch, limit=settings.limit)
    return dataclasses.replace(
        draft,
        protocol=protocol,
        facts=data_facts(settings.data / task.data.root),
        features=config.get("cache_dir") is not None,
    )


def data_facts(root: Path) -> dict[str, Any]:
    """Return the format, seed and size of a generated data set; empty for other data."""
    for folder in (root, root.parent):
        manifest = folder / "world.json"
        if manifest.is_file():
            content = json.loads(manifest.read_text())
            return {key: content.get(key) for key in ("format", "seed", "scale")}
    return {}


def check_any_data(runs: Sequence[Run]) -> None:
    """Check that at least one run that has no record yet finds data.

    Args:
        runs: Runs listed by :func:`plan`.

    Raises:
        InputError: If the data folders of all of them are missing or empty.
    """
    waiting = [run for run in runs if not run.record.is_file()]
    roots = {run.settings.data / run.task.data.root: run.task.data for run in waiting}
    if not roots or any(root.is_dir() and any(root.iterdir()) for root in roots):
        return
    folder, data = waiting[0].settings.data, waiting[0].task.data
    get = f" (to get them: {data.get})" if data.get else ""
    raise InputError(
        f"--data {folder}: {'there is no data in' if folder.is_dir() else 'the folder is missing,'}"
        f" {listing(str(root) for root in roots)}; pass the folder that holds them{get}"
    )


def write_config(config: Config, path: Path) -> str:
    """Write a config as a plain Python file without base configs and return its text."""
    text = "".join(f"{key} = {_written(value)!r}\n" for key, value in config.to_dict().items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return text


def _written(value: Any) -> Any:
    """Replace the classes of a pure Python config by the names of their places."""
    if isinstance(value, dict):
        return {key: _written(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_written(entry) for entry in value)
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value
