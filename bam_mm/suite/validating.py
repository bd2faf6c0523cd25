"""Check data and models before a long benchmark is started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config

from bam_mm.checkpoint import build_backbone, load_backbone
from bam_mm.data.checks.folders import Finding
from bam_mm.data.checks.known import check_data
from bam_mm.errors import InputError
from bam_mm.registry import DATASETS, MODELS
from bam_mm.suite.limiting import checked_loaders
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.models import Model
from bam_mm.suite.planning import Run
from bam_mm.suite.pretraining_checks import build_pretraining
from bam_mm.suite.running import check_mixing

_Item = TypeVar("_Item")


def validate(runs: Sequence[Run]) -> Iterator[Finding]:
    """Check the data sets, the models, and each model in each task.

    Args:
        runs: Runs listed by :func:`~bam_mm.suite.planning.plan`.

    Yields:
        The finding of each check.
    """
    try:
        check_mixing(runs)
    except InputError as error:
        yield Finding(False, str(error))
    for model in _each([run.model for run in runs if not run.model.method]):
        yield _model(model, trust=runs[0].settings.trust)
    checked: set[tuple[str, Path]] = set()
    for run in _each(runs):
        data = run.task.data
        root = run.settings.data / data.root
        if data.check and (data.check, root) not in checked:
            checked.add((data.check, root))
            yield from check_data(data.check, root)
    seen: set[tuple[str, str]] = set()
    sizes: dict[tuple[str, str], str] = {}
    for run in runs:
        if (run.task.name, run.model.slug) in seen:
            continue
        seen.add((run.task.name, run.model.slug))
        yield _run(run, sizes)


def _model(model: Model, *, trust: bool) -> Finding:
    try:
        _, report = build_backbone(model.source, trust=trust)
    except InputError as error:
        return Finding(False, f"model {model.name}: {error}")
    if report is None:
        return Finding(True, f"model {model.name}: random weights")
    return Finding(True, f"model {model.name}: {report}")


def _run(run: Run, sizes: dict[tuple[str, str], str]) -> Finding:
    name = f"task {run.task.name}, model {run.model.name}"
    try:
        if run.task.kind == PRETRAIN:
            name = f"method {run.model.method}"
            return Finding(True, f"{name}: {build_pretraining(run)}, {data_sizes(run.config()[0])}")
        config, adapted = run.config()
        # The data sets do not depend on the model: read them once for each task and config.
        key = (run.task.name, run.variant)
        if key not in sizes:
            sizes[key] = data_sizes(config)
        if run.model.source.path is not None:
            network: Any = MODELS.build(config.model)
            load_backbone(network.backbone, run.model.source.path, run.model.source.branch)
    except InputError as error:
        return Finding(False, f"{name}: {error}")
    changes = f"; {', '.join(adapted)}" if adapted else ""
    return Finding(True, f"{name}: {sizes[key]}{changes}")


def data_sizes(config: Config) -> str:
    """Check and build all data sets of a config.

    Args:
        config: Config of a run.

    Returns:
        Their sizes, such as ``test 900, bank 3,600``.

    Raises:
        InputError: If the data have a fault, or items of them are left out.
    """
    sizes = []
    for name, loader in checked_loaders(config).items():
        dataset = DATASETS.build(loader["dataset"])
        left_out = (getattr(dataset, "metainfo", None) or {}).get("left_out")
        if left_out:
            raise InputError(
                f"{len(left_out)} items left out, the first: {next(iter(left_out.values()))}"
            )
        size = f"{name.removesuffix('_dataloader').removeprefix('test_cfg.')} {len(dataset):,}"
        if size not in sizes:
            sizes.append(size)
    return ", ".join(sizes)


def _each(items: Iterable[_Item]) -> Iterator[_Item]:
    seen: list[_Item] = []
    for item in items:
        if item not in seen:
            seen.append(item)
            yield item
