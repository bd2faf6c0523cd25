"""Checks of pretrainings before anything starts: networks build, and results do not mix."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import init_default_scope

from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules
from bam_mm.registry import MODELS
from bam_mm.suite.fitting_images import BUILD_FAILURES
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.planning import Run
from bam_mm.suite.records import DONE, read_json


def refuse_other_pretraining(run: Run) -> None:
    """Check that a finished run has evaluated the checkpoint that its pretraining has left.

    Raises:
        InputError: If it evaluated another one, or the pretraining has no result.
    """
    record = read_json(run.record) if run.pretraining else None
    if run.pretraining is None or record is None or record["status"] != DONE:
        return
    made = read_json(run.pretraining.record) or {}
    expected = (made.get("checkpoint") or {}).get("sha256")
    if made.get("status") != DONE or record["checkpoint"]["sha256"] != expected:
        folder = run.settings.folder
        raise InputError(
            f"{run}: the record is of another pretraining than that in {run.pretraining.folder}. "
            f"Delete the records of the other tasks in {folder}/records/{run.model.slug}, or "
            "choose another --work-dir"
        )


def build_pretraining(run: Run) -> str:
    """Build the network of a pretraining.

    Args:
        run: Run of a pretraining.

    Returns:
        Its class and number of parameters.

    Raises:
        InputError: If it cannot be built, for example for want of an optional package.
    """
    config, _ = run.config()
    import_custom_modules(config)
    init_default_scope(config.get("default_scope", "mmpretrain"))
    try:
        model = MODELS.build(config.model)
    except InputError:
        raise
    except BUILD_FAILURES as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"its model does not build: {type(error).__name__}: {reason}; correct the config "
            f"{run.task.config[run.variant]}"
        ) from error
    number = sum(each.numel() for each in model.parameters())
    return f"{type(model).__name__} with {number / 1e6:,.2f} million parameters"


def check_methods(runs: Sequence[Run]) -> None:
    """Check that the methods whose pretraining has no result can be built, before anything runs.

    Args:
        runs: Runs of one call.

    Raises:
        InputError: If some cannot; the message names all of them, and the others.
    """
    methods = {run.model.method: None for run in runs if run.task.kind == PRETRAIN}
    tried: set[str] = set()
    faults: dict[str, str] = {}
    for run in runs:
        name = run.model.method
        if run.task.kind != PRETRAIN or name in tried:
            continue
        record = read_json(run.record)
        if record is not None and record["status"] == DONE:
            continue
        tried.add(name)
        try:
            build_pretraining(run)
        except InputError as error:
            faults[name] = f"method {name}: {error}"
    if faults:
        others = [name for name in methods if name not in faults]
        remedy = f". Or run only the others: --methods {' '.join(others)}" if others else ""
        raise InputError("; ".join(faults.values()) + remedy)
