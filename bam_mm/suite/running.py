"""One run: its config, its child processes and its record; an interrupted training is resumed."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.checkpoint import newest_checkpoint
from bam_mm.checkpoint.proof import PROOF
from bam_mm.checkpoint.settings import differences
from bam_mm.errors import InputError
from bam_mm.launch.batches import evaluation_loaders
from bam_mm.suite.child_process import Outcome, Tool, command, run_child
from bam_mm.suite.claims import Claim
from bam_mm.suite.harvest import RunFailed, collect
from bam_mm.suite.machine import commit, hardware, versions
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.planning import Run, write_config
from bam_mm.suite.pretraining_checks import refuse_other_pretraining
from bam_mm.suite.pretraining_record import collect_pretraining
from bam_mm.suite.protocol import digest_of
from bam_mm.suite.records import (
    DONE,
    FAILED,
    FORMAT,
    PLAN,
    model_differences,
    read_json,
    read_records,
    refuse_other_model,
    refuse_to_mix,
    write_json,
)
from bam_mm.variables.entries import plain


def check_mixing(runs: Sequence[Run]) -> None:
    """Check that the work folder has no results of another protocol, other data or other models.

    Args:
        runs: Runs that would be added to the work folder.

    Raises:
        InputError: If it has such results; the message lists the differences.
    """
    records: dict[Path, list[dict[str, Any]]] = {}
    for run in runs:
        folder = run.settings.folder
        known = records.setdefault(folder, read_records(folder))
        refuse_to_mix(known, _identity(run), folder)
        refuse_other_model(known, run.model, folder)
        refuse_other_pretraining(run)
        started = read_json(run.folder / PLAN)
        done = read_json(run.record)
        if started and not done and newest_checkpoint(run.folder)[0] is not None:
            found = differences(started["protocol"], run.protocol)
            found += model_differences(started["model"], run.model)
            if found:
                raise InputError(
                    f"{run}: the interrupted training in {run.folder} has other settings: "
                    f"{'; '.join(found)}. Undo the change, or delete that folder to start over"
                )


def run_one(
    run: Run,
    *,
    share: int = 1,
    gpus: Sequence[str] = (),
    claim: Claim | None = None,
    tool: Tool = command,
) -> dict[str, Any]:
    """Run one task for one model and seed.

    Args:
        run: The run.
        share: Number of runs that share the CPU cores and the memory.
        gpus: GPUs of the run as entries for ``CUDA_VISIBLE_DEVICES``; empty for those that this
            process sees.
        claim: Claim of the run.
        tool: Function that returns the command line of the run's training or test.

    Returns:
        The record of the result or of the failure.

    Raises:
        ClaimLost: If another worker has taken the run over. Its child process has ended then.
    """
    record = _new_record(run, gpus=gpus, share=share)
    progress: dict[str, Any] = {"seconds": 0.0, "starts": 0}
    try:
        _run(run, record, progress, partial(_child, share=share, claim=claim), tool)
        record["status"] = DONE
    except (RunFailed, InputError) as error:
        record["message"] = str(error)
    except OSError as error:  # Such as a full disk, or a network file system that is away.
        place = f"{error.filename}: " if error.filename else ""
        record["message"] = f"{place}{error.strerror or error}"
    record["time"] = {**progress, "finished": _now()}
    return plain(record)


def not_run(run: Run, why: str, *, gpus: Sequence[str] = (), share: int = 1) -> dict[str, Any]:
    """Return the record of a run that cannot be started.

    Args:
        run: The run.
        why: What it lacks.
        gpus: GPUs that it would have had, as in :func:`run_one`.
        share: Number of runs that share the CPU cores and the memory.
    """
    record = _new_record(run, gpus=gpus, share=share)
    time_spent = {"seconds": 0.0, "starts": 0, "finished": _now()}
    return plain({**record, "message": why, "time": time_spent})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _identity(run: Run) -> dict[str, Any]:
    """The entries of a record that tell which results have to agree, and in what."""
    return {
        "task": run.task.name,
        "variant": run.variant,
        "family": run.family,
        "kind": run.task.kind,
        "slug": run.model.slug,
        "protocol": run.protocol,
        "data": run.facts,
    }


def _new_record(run: Run, *, gpus: Sequence[str], share: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "suite": run.suite.name,
        **_identity(run),
        "model": run.model.facts(),
        "spec": run.model.source.spec,
        "seed": run.seed,
        "status": FAILED,
        "message": "",
        "metrics": {},
        "protocol_digest": digest_of(run.protocol),
        "data_root": str(run.settings.data / run.task.data.root),
        "limit": run.settings.limit,
        "versions": versions(),
        "git": commit(),
        "hardware": hardware(),
        "gpus": list(gpus),
        "share": share,
        "options": run.user_options,
    }


def _run(
    run: Run,
    record: dict[str, Any],
    progress: dict[str, Any],
    child: Callable[..., Outcome],
    tool: Tool,
) -> None:
    run = run.with_checkpoint()
    record["spec"] = run.model.source.spec
    config, record["adapted"] = run.config()
    batches = run.explicit_batches()
    started = read_json(run.folder / PLAN)
    identity = plain({"protocol": run.protocol, "model": run.model.facts(), "data": run.facts})
    if run.model.method and run.task.kind != PRETRAIN:
        # What the model's facts leave out, as it differs between the seeds.
        identity["sha256"] = run.model.sha256
    if started is not None and {k: started.get(k) for k in identity} != identity:
        # An earlier run with other settings that ended before its first checkpoint, or on the
        # weights of an earlier pretraining.
        shutil.rmtree(run.folder)
        started = None
    before = started or {"seconds": 0.0, "starts": 0}
    progress.update(seconds=before["seconds"], starts=before["starts"] + 1)
    text = write_config(config, run.folder / "config.py")
    record["config"] = str(run.folder.relative_to(run.settings.folder) / "config.py")
    record["config_digest"] = digest_of(text)
    plan_file = run.folder / PLAN
    plan = {**identity, "config": run.task.config[run.variant].stem}
    write_json(plan_file, {**plan, **progress})
    metrics_file = run.folder / "metrics.json"
    metrics_file.unlink(missing_ok=True)

    def step(name: str, arguments: list[str], part: str) -> None:
        (run.folder / f"{part}_facts.json").unlink(missing_ok=True)
        arguments = [str(run.folder / "config.py"), *arguments, "--work-dir", str(run.folder)]
        if run.settings.trust:
            arguments.append("--trust-checkpoint")
        arguments += [f"--vis={name}" for name in run.settings.vis]
        # The run reduces other batches to what fits into the memory that it finds.
        kept = [f"{k}={v}" for k, v in batches.items() if k.startswith("val_") == (part == "train")]
        arguments += ["--cfg-options", *kept] if kept else []
        line = tool(
            name, arguments, launcher=run.settings.launcher, processes=run.settings.processes
        )
        spent, start = progress["seconds"], time.monotonic()

        def update_plan(seconds: float) -> None:
            write_json(plan_file, {**plan, **progress, "seconds": spent + seconds})

        outcome = child(line, run.folder / "run.log", record["gpus"], update_plan)
        progress["seconds"] = spent + time.monotonic() - start
        write_json(plan_file, {**plan, **progress})
        if outcome.code:
            raise RunFailed(outcome.message + _memory_remedy(config, part, outcome.signal))

    checkpoint = run.model.checkpoint
    if run.task.kind != "test":
        options = ["--resume"]
        if config.get("auto_scale_lr"):
            options.append("--auto-scale-lr")
        step("train", options, "train")
        if run.task.kind == PRETRAIN:
            collect_pretraining(run, record)
            return
        trained, _ = newest_checkpoint(run.folder)
        if trained is None:
            raise RunFailed(f"the training saved no checkpoint in {run.folder}")
        checkpoint = str(trained)
    else:
        (run.folder / PROOF).unlink(missing_ok=True)
    step("test", [checkpoint, "--out", str(metrics_file)], "test")
    collect(run, record, metrics_file)


def _child(
    line: list[str],
    log: Path,
    gpus: Sequence[str],
    update: Callable[[float], None],
    *,
    share: int,
    claim: Claim | None,
) -> Outcome:
    """Run a child process that ends if another worker takes the run over."""

    def on_wait(seconds: float) -> None:
        if claim is not None:
            claim.check(now=True)
        update(seconds)

    on_start = claim.add_child if claim is not None else None
    return run_child(line, log, on_wait=on_wait, on_start=on_start, share=share, gpus=gpus)


def _memory_remedy(config: Config, part: str, killed: int) -> str:
    """Explain a SIGKILL, with which the kernel ends a process for which there is no memory."""
    if killed != signal.SIGKILL:
        return ""
    what = ", usually for want of memory: set a smaller batch, as in --cfg-options"
    names = [name for name in evaluation_loaders(config) if not name.startswith("val_")]
    if part == "train" or not names:
        key = f"{part}_dataloader.batch_size"
        size = (config.get(f"{part}_dataloader") or {}).get("batch_size", 1)
        changes = ", which changes the protocol" if part == "train" else ""
        return f"{what} {key}={max(size // 2, 1)} ({size} now{changes})"
    return f"{what} {' '.join(f'{name}.batch_size=16' for name in names)}"
