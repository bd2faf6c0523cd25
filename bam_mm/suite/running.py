"""Run a plan: skip finished runs, repeat failed runs and resume interrupted ones."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.checkpoint import newest_checkpoint
from bam_mm.checkpoint.proof import PROOF
from bam_mm.checkpoint.settings import differences
from bam_mm.errors import InputError
from bam_mm.launch.batches import evaluation_loaders
from bam_mm.suite.child_process import Outcome, command, run_child
from bam_mm.suite.devices import VISIBLE, DevicePool, gpu_names
from bam_mm.suite.harvest import RunFailed, collect
from bam_mm.suite.machine import commit, hardware, versions
from bam_mm.suite.planning import Run, Settings, write_config
from bam_mm.suite.protocol import digest_of
from bam_mm.suite.records import (
    DONE,
    FAILED,
    FORMAT,
    PLAN,
    locked,
    read_json,
    read_records,
    refuse_other_model,
    refuse_to_mix,
    write_json,
)
from bam_mm.variables.entries import plain

Log = Callable[[str], None]
"""A function that receives progress messages."""

PARSING = threading.Lock()
"""Guards the reading and writing of configs. mmengine's default scope is global to the process, and
Python 3.11 cannot parse in two threads at once."""


def run_all(runs: Sequence[Run], log: Log = print, *, jobs: int = 1) -> int:
    """Run everything that has no result yet.

    Args:
        runs: Runs listed by :func:`~bam_mm.suite.planning.plan`.
        log: Function that receives progress messages.
        jobs: Maximum number of runs in parallel. They share the CPU cores. Each has its own GPUs,
            one for each of its processes, so that their number limits the runs in parallel.

    Returns:
        The number of runs without a result.

    Raises:
        InputError: If ``jobs`` is not positive, if a run needs more GPUs than the machine has, or
            if the work folder has results of other protocols, data or models. Nothing is run then.
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: must be at least 1")
    check_mixing(runs)
    devices, jobs = _devices(runs, jobs, log)
    stop = threading.Event()
    models = list(dict.fromkeys(run.model.slug for run in runs))

    def one(number: int) -> bool:
        try:
            return not stop.is_set() and _run_and_record(
                runs[number], f"[{number + 1}/{len(runs)}]", log, stop, jobs, models, devices
            )
        except BaseException:
            # Stop the other runs at once: the loop over the futures may still wait for an earlier
            # run.
            stop.set()
            raise

    if jobs == 1:
        return sum(not one(number) for number in range(len(runs)))
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, number) for number in range(len(runs))]
        try:
            return sum(not future.result() for future in futures)
        except BaseException:
            # End the children of the active runs and start no others.
            stop.set()
            raise


def _devices(runs: Sequence[Run], jobs: int, log: Log) -> tuple[DevicePool, int]:
    """Return the GPUs that the runs share out, and the number of runs in parallel."""
    settings = runs[0].settings if runs else Settings(Path())
    pool = DevicePool.of_machine(launcher=settings.launcher, processes=settings.processes)
    parallel = pool.limit(jobs)
    if parallel < min(jobs, len(runs)):
        log(
            f"--jobs {jobs}: at most {parallel} in parallel, because a run has {pool.per_run} of "
            f"the {len(pool.gpus)} GPUs ({VISIBLE}={','.join(pool.gpus)}) for itself"
        )
    return pool, parallel


def _run_and_record(
    run: Run,
    position: str,
    log: Log,
    stop: threading.Event,
    jobs: int,
    models: list[str],
    devices: DevicePool,
) -> bool:
    head = f"{position} {run}"
    record = read_json(run.record)
    if record and record["status"] == DONE:
        log(f"{head}: already done, {_scores(run, record)}")
        return True
    try:
        with locked(run.folder), devices.take() as gpus:
            where = f" on {gpu_names(gpus)}" if gpus else ""
            verb = "failed before, retrying" if record else "running"
            log(f"{head}: {verb}{where} ({run.task.cost})")
            record = run_one(run, stop, jobs=jobs, gpus=gpus)
            # Order of the models in the tables: parallel runs end in any order.
            record["place"] = models.index(run.model.slug)
            write_json(run.record, record)
    except InputError as error:
        log(f"{head}: NOT RUN, {error}")
        return False
    if record["status"] == DONE:
        log(f"{head}: {_scores(run, record)} in {record['time']['seconds']:.0f} s")
        return True
    log(f"{head}: FAILED, {record['message']} (log: {run.folder / 'run.log'})")
    return False


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
        refuse_to_mix(known, run.task.name, run.variant, run.protocol, run.facts, folder)
        refuse_other_model(known, run.model, folder)
        started = read_json(run.folder / PLAN)
        done = read_json(run.record)
        if started and not done and newest_checkpoint(run.folder)[0] is not None:
            found = differences(started["protocol"], run.protocol)
            found += differences(started["model"], plain(run.model.facts()))
            if found:
                raise InputError(
                    f"{run}: the interrupted training in {run.folder} has other settings: "
                    f"{'; '.join(found)}. Undo the change, or delete that folder to start over"
                )


def run_one(
    run: Run,
    stop: threading.Event | None = None,
    *,
    jobs: int = 1,
    gpus: Sequence[str] = (),
) -> dict[str, Any]:
    """Run one task for one model and seed.

    Args:
        run: The run.
        stop: Event that ends the child process; KeyboardInterrupt is then raised.
        jobs: Number of runs that share the CPU cores.
        gpus: GPUs of the run as entries for ``CUDA_VISIBLE_DEVICES``; empty for those that this
            process sees.

    Returns:
        The record of the result or of the failure.
    """
    record: dict[str, Any] = {
        "format": FORMAT,
        "suite": run.suite.name,
        "task": run.task.name,
        "variant": run.variant,
        "kind": run.task.kind,
        "slug": run.model.slug,
        "model": run.model.facts(),
        "spec": run.model.source.spec,
        "seed": run.seed,
        "status": FAILED,
        "message": "",
        "metrics": {},
        "protocol": run.protocol,
        "protocol_digest": digest_of(run.protocol),
        "data": run.facts,
        "data_root": str(run.settings.data / run.task.data.root),
        "limit": run.settings.limit,
        "versions": versions(),
        "git": commit(),
        "hardware": hardware(),
        "gpus": list(gpus),
        "options": run.user_options,
    }
    progress: dict[str, Any] = {"seconds": 0.0, "starts": 0}
    try:
        _run(run, record, progress, stop or threading.Event(), jobs)
        record["status"] = DONE
    except (RunFailed, InputError) as error:
        record["message"] = str(error)
    record["time"] = {**progress, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return plain(record)


def _run(
    run: Run,
    record: dict[str, Any],
    progress: dict[str, Any],
    stop: threading.Event,
    jobs: int,
) -> None:
    with PARSING:
        config, record["adapted"] = run.config()
        batches = run.explicit_batches()
    started = read_json(run.folder / PLAN)
    identity = plain({"protocol": run.protocol, "model": run.model.facts(), "data": run.facts})
    if started is not None and {k: started[k] for k in identity} != identity:
        # An earlier run with other settings that ended before its first checkpoint.
        shutil.rmtree(run.folder)
        started = None
    before = started or {"seconds": 0.0, "starts": 0}
    progress.update(seconds=before["seconds"], starts=before["starts"] + 1)
    with PARSING:
        text = write_config(config, run.folder / "config.py")
    record["config"] = str(run.folder.relative_to(run.settings.folder) / "config.py")
    record["config_digest"] = digest_of(text)
    plan_file = run.folder / PLAN
    write_json(plan_file, {**identity, **progress})
    metrics_file = run.folder / "metrics.json"
    metrics_file.unlink(missing_ok=True)

    def step(tool: str, arguments: list[str], part: str) -> None:
        (run.folder / f"{part}_facts.json").unlink(missing_ok=True)
        arguments = [str(run.folder / "config.py"), *arguments, "--work-dir", str(run.folder)]
        if run.settings.trust:
            arguments.append("--trust-checkpoint")
        arguments += [f"--vis={name}" for name in run.settings.vis]
        # The run reduces other batches to what fits into the memory that it finds.
        kept = [f"{k}={v}" for k, v in batches.items() if k.startswith("val_") == (part == "train")]
        arguments += ["--cfg-options", *kept] if kept else []
        line = command(
            tool, arguments, launcher=run.settings.launcher, processes=run.settings.processes
        )
        spent, start = progress["seconds"], time.monotonic()

        def update_plan(seconds: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            write_json(plan_file, {**identity, **progress, "seconds": spent + seconds})

        outcome: Outcome = run_child(
            line, run.folder / "run.log", on_wait=update_plan, share=jobs, gpus=record["gpus"]
        )
        progress["seconds"] = spent + time.monotonic() - start
        write_json(plan_file, {**identity, **progress})
        if outcome.code:
            raise RunFailed(outcome.message + _memory_remedy(config, part, outcome.signal))

    checkpoint = run.model.checkpoint
    if run.task.kind == "train":
        options = ["--resume"]
        if config.get("auto_scale_lr"):
            options.append("--auto-scale-lr")
        step("train", options, "train")
        trained, _ = newest_checkpoint(run.folder)
        if trained is None:
            raise RunFailed(f"the training saved no checkpoint in {run.folder}")
        checkpoint = str(trained)
    else:
        (run.folder / PROOF).unlink(missing_ok=True)
    step("test", [checkpoint, "--out", str(metrics_file)], "test")
    collect(run, record, metrics_file)


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


def _scores(run: Run, record: dict[str, Any]) -> str:
    shown = [
        f"{metric.label} {metric.scale * record['metrics'][metric.key]:{metric.form}}"
        for metric in run.task.metrics
        if metric.main and metric.key in record["metrics"]
    ]
    return ", ".join(shown) or "no main metric"
