"""Running a plan: what is done is skipped, what failed is done again, what was cut off goes on."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bam_mm.checkpoint import newest_checkpoint, read_proof
from bam_mm.checkpoint.proof import PROOF
from bam_mm.errors import InputError
from bam_mm.launch.config import plain
from bam_mm.launch.run_facts import read_facts
from bam_mm.suite.child_process import Outcome, command, run_child
from bam_mm.suite.harvest import curves, pictures, training_curves
from bam_mm.suite.machine import commit, hardware, versions
from bam_mm.suite.planning import Run, write_config
from bam_mm.suite.protocol import differences, digest_of
from bam_mm.suite.records import (
    DONE,
    FAILED,
    FORMAT,
    PLAN,
    read_json,
    read_records,
    refuse_other_model,
    refuse_to_mix,
    write_json,
)

Say = Callable[[str], None]


_CONFIGS = threading.Lock()
"""mmengine's reading of configs and its default scope belong to the whole process."""


class _Failed(Exception):
    """A run that failed, with a message for its row."""


def run_all(runs: Sequence[Run], say: Say = print, *, jobs: int = 1) -> int:
    """Run what is not done yet.

    Args:
        runs: As :func:`~bam_mm.suite.planning.plan` gives them.
        say: Is told the progress.
        jobs: How many runs go side by side. They share the machine's cores; on a GPU they would
            share that.

    Returns:
        How many have no result now.

    Raises:
        InputError: Before anything is run, if results of different protocols, data or models would
            come together in one work folder; or if ``jobs`` is not positive.
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: one run at a time is the least")
    check_mixing(runs)
    stop = threading.Event()
    models = list(dict.fromkeys(run.model.slug for run in runs))

    def one(number: int) -> bool:
        try:
            return not stop.is_set() and _run_and_record(
                runs[number], f"[{number + 1}/{len(runs)}]", say, stop, jobs, models
            )
        except BaseException:
            # Here too: whoever waits for the results waits for an earlier run first.
            stop.set()
            raise

    if jobs == 1:
        return sum(not one(number) for number in range(len(runs)))
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, number) for number in range(len(runs))]
        try:
            return sum(not future.result() for future in futures)
        except BaseException:
            # Their children are ended, and what has not begun does not begin.
            stop.set()
            raise


def _run_and_record(
    run: Run, place: str, say: Say, stop: threading.Event, jobs: int, models: list[str]
) -> bool:
    head = f"{place} {run}"
    record = read_json(run.record)
    if record and record["status"] == DONE:
        say(f"{head}: done before, {_scores(run, record)}")
        return True
    try:
        with _locked(run.folder):
            say(f"{head}: {'again, it failed' if record else 'running'} ({run.task.cost})")
            record = run_one(run, stop, jobs=jobs)
            # For the order of the tables: runs side by side end in any order.
            record["place"] = models.index(run.model.slug)
            write_json(run.record, record)
    except InputError as error:
        say(f"{head}: NOT RUN, {error}")
        return False
    if record["status"] == DONE:
        say(f"{head}: {_scores(run, record)} in {record['time']['seconds']:.0f} s")
        return True
    say(f"{head}: FAILED, {record['message']} (log: {run.folder / 'run.log'})")
    return False


def check_mixing(runs: Sequence[Run]) -> None:
    """Stop where the records in the work folder are of another protocol, other data or models.

    Raises:
        InputError: With what differs.
    """
    records: dict[Path, list[dict[str, Any]]] = {}
    for run in runs:
        folder = run.settings.folder
        known = records.setdefault(folder, read_records(folder))
        refuse_to_mix(known, run.task.name, run.variant, run.protocol, run.facts, folder)
        refuse_other_model(known, run.model, folder)
        begun = read_json(run.folder / PLAN)
        done = read_json(run.record)
        if begun and not done and newest_checkpoint(run.folder)[0] is not None:
            found = differences(begun["protocol"], run.protocol)
            found += differences(begun["model"], plain(run.model.facts()))
            if found:
                raise InputError(
                    f"{run}: {run.folder} holds a training that was cut off and is another one: "
                    f"{'; '.join(found)}. Take back the change, or delete that folder to begin anew"
                )


def run_one(run: Run, stop: threading.Event | None = None, *, jobs: int = 1) -> dict[str, Any]:
    """Run one (model, task, seed) and make its record; a failure is a record too.

    Args:
        run: What to run.
        stop: Once it is set, the child is ended and KeyboardInterrupt raised.
        jobs: How many runs share the cores.
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
    }
    progress: dict[str, Any] = {"seconds": 0.0, "starts": 0}
    try:
        _run(run, record, progress, stop or threading.Event(), jobs)
        record["status"] = DONE
    except (_Failed, InputError) as error:
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
    with _CONFIGS:
        config, record["adapted"] = run.config()
    begun = read_json(run.folder / PLAN)
    identity = plain({"protocol": run.protocol, "model": run.model.facts(), "data": run.facts})
    if begun is not None and {k: begun[k] for k in identity} != identity:
        # It failed or was cut off before its first checkpoint, and was meant otherwise.
        shutil.rmtree(run.folder)
        begun = None
    before = begun or {"seconds": 0.0, "starts": 0}
    progress.update(seconds=before["seconds"], starts=before["starts"] + 1)
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
        line = command(
            tool, arguments, launcher=run.settings.launcher, processes=run.settings.processes
        )
        spent, start = progress["seconds"], time.monotonic()

        def tell(seconds: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            write_json(plan_file, {**identity, **progress, "seconds": spent + seconds})

        outcome: Outcome = run_child(line, run.folder / "run.log", on_wait=tell, share=jobs)
        progress["seconds"] = spent + time.monotonic() - start
        write_json(plan_file, {**identity, **progress})
        if outcome.code:
            raise _Failed(outcome.message)

    checkpoint = run.model.checkpoint
    if run.task.kind == "train":
        options = ["--resume"]
        if config.get("auto_scale_lr"):
            options.append("--auto-scale-lr")
        step("train.py", options, "train")
        trained, _ = newest_checkpoint(run.folder)
        if trained is None:
            raise _Failed(f"the training has left no checkpoint in {run.folder}")
        checkpoint = str(trained)
    else:
        (run.folder / PROOF).unlink(missing_ok=True)
    step("test.py", [checkpoint, "--out", str(metrics_file)], "test")
    _collect(run, record, metrics_file)


def _collect(run: Run, record: dict[str, Any], metrics_file: Path) -> None:
    metrics = read_json(metrics_file) or {}
    wanted = [metric.key for metric in run.task.metrics]
    absent = [key for key in wanted if key not in metrics]
    if absent and run.settings.limit is None:
        raise _Failed(f"no metric {', '.join(absent)}; there are {', '.join(metrics) or 'none'}")
    wrong = [key for key in wanted if key in metrics and not math.isfinite(metrics[key])]
    if wrong:
        raise _Failed(f"{', '.join(wrong)} is not a finite number")
    proof = read_proof(run.folder)
    if run.model.trained and (proof is None or proof["file_sha256"] != run.model.sha256):
        raise _Failed(
            f"{run.model.checkpoint} was not proven to be loaded"
            + (": it has changed meanwhile" if proof else "")
        )
    parts = [read_facts(run.folder, part) for part in ("train", "test")]
    memory = {
        key: max((facts[key] for facts in parts if facts.get(key) is not None), default=None)
        for key in ("peak_mb", "peak_gpu_mb")
    }
    record.update(
        metrics=metrics,
        proof=proof,
        checkpoint={"path": run.model.checkpoint, "sha256": run.model.sha256},
        processes=parts[1].get("processes"),
        devices=parts[1].get("devices"),
        memory=memory,
        curves=curves(run.task, run.folder),
        training=training_curves(run.folder) if run.task.kind == "train" else {},
        pictures=pictures(run.task, run.folder, run.settings.folder),
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a run's folder to oneself: several calls may work through one plan side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the folder, which may be deleted to begin anew.
    with folder.with_name(folder.name + ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # No such locks on this system.
            pass
        except OSError as error:
            raise InputError(
                f"another process works on {folder}: wait for it, then run this again"
            ) from error
        yield


def _scores(run: Run, record: dict[str, Any]) -> str:
    shown = [
        f"{metric.label} {metric.scale * record['metrics'][metric.key]:{metric.form}}"
        for metric in run.task.metrics
        if metric.main and metric.key in record["metrics"]
    ]
    return ", ".join(shown) or "no main metric"
