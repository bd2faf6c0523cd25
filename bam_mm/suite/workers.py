"""The workers of one call of ``bam-mm benchmark run``: one for each GPU, or one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from bam_mm.errors import InputError
from bam_mm.launch.watching import DEAD_AFTER, end_with
from bam_mm.models.building import log_only_warnings
from bam_mm.suite.child_process import Tool, command
from bam_mm.suite.claims import Claims
from bam_mm.suite.devices import VISIBLE, gpu_shares, visible_gpus
from bam_mm.suite.planning import Run
from bam_mm.suite.records import DONE, read_json
from bam_mm.suite.running import check_mixing
from bam_mm.suite.worker import LONGEST_PAUSE, Log, failures, scores, work

INTERRUPTED = 130
"""Exit code of a worker that was interrupted."""


def run_all(
    runs: Sequence[Run],
    log: Log = print,
    *,
    jobs: int | None = None,
    tries: int = 1,
    dead_after: float = DEAD_AFTER,
    longest_pause: float = LONGEST_PAUSE,
    tool: Tool = command,
) -> int:
    """Run everything that has no result yet.

    One worker works in this process; several have a process each. Runs that failed before this
    call count as untried.

    Args:
        runs: Runs listed by :func:`~bam_mm.suite.planning.plan`.
        log: Function that receives progress messages.
        jobs: Number of workers, None for one for each GPU, or for the GPUs of a run, and one
            without a GPU. They share the CPU cores; each has its own GPUs, so that their number
            limits that of the workers.
        tries: Number of times that a run is tried.
        dead_after: Age in seconds at which the claim of another machine counts as that of a dead
            worker.
        longest_pause: Maximum number of seconds between two looks for undone runs.
        tool: Function that returns the command line of a run's training or test; of a module, as
            each worker imports it.

    Returns:
        The number of runs without a result.

    Raises:
        InputError: If ``jobs`` or ``tries`` is not positive, if a run needs more GPUs than the
            machine has, or if the work folder has results of other protocols, data or models.
            Nothing is run then.
    """
    for name, value in (("jobs", jobs), ("tries", tries)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: must be at least 1")
    check_mixing(runs)
    undone = log_done(runs, log)
    shares = worker_gpus(runs, jobs, len(undone), log)
    settings: dict[str, Any] = dict(
        limits=[tries + failed for failed in _failures(runs)],
        longest_pause=longest_pause, tool=tool, share=len(shares),
    )  # fmt: skip
    if len(shares) == 1:
        claims = Claims(runs[0].settings.folder / "records", dead_after=dead_after)
        work(runs, log, gpus=shares[0], claims=claims, **settings)
    elif shares:
        _Processes(runs, shares, {**settings, "dead_after": dead_after}).follow(log)
    return missing(runs)


def work_alone(
    runs: Sequence[Run], log: Log = print, *, tries: int = 1, dead_after: float = DEAD_AFTER
) -> int:
    """Be one of several workers that were started apart from each other, on any machines.

    Failures count over all workers, also those that have ended.

    Args:
        runs: Same as in :func:`run_all`.
        log: Same as in :func:`run_all`.
        tries: Same as in :func:`run_all`.
        dead_after: Same as in :func:`run_all`.

    Returns:
        The number of runs without a result.

    Raises:
        InputError: Same as in :func:`run_all`.
    """
    if tries < 1:
        raise InputError(f"--tries {tries}: must be at least 1")
    check_mixing(runs)
    undone = log_done(runs, log)
    for number, failed in enumerate(_failures(runs)):
        if failed >= tries:
            log(
                f"[{number + 1}/{len(runs)}] {runs[number]}: FAILED before, not tried again "
                f"(--tries {failed + 1} tries it once more)"
            )
    [gpus] = worker_gpus(runs, 1, len(undone), log) or [()]
    claims = Claims(runs[0].settings.folder / "records", dead_after=dead_after) if runs else None
    work(runs, log, limits=[tries] * len(runs), gpus=gpus, claims=claims)
    return missing(runs)


def worker_gpus(
    runs: Sequence[Run], jobs: int | None, undone: int, log: Log
) -> list[tuple[str, ...]]:
    """Distribute the GPUs of this machine among workers.

    Args:
        runs: The runs.
        jobs: Number of workers that were asked for, None for as many as there are GPUs for.
        undone: Number of undone runs, the most workers that have something to do.
        log: Function that is told if there are fewer workers than were asked for.

    Returns:
        The GPUs of each worker; empty without a GPU, and under Slurm, whose ``srun`` starts
        processes on other machines and assigns their GPUs.

    Raises:
        InputError: If there are GPUs, but fewer than a run needs.
    """
    if not undone:
        return []
    settings = runs[0].settings
    gpus = [] if settings.launcher == "slurm" else visible_gpus()
    shares = gpu_shares(gpus, settings.processes)
    if not shares:
        return [()] * min(jobs or 1, undone)
    asked = min(len(shares) if jobs is None else jobs, undone)
    if asked > len(shares):
        log(
            f"--jobs {jobs}: at most {len(shares)} in parallel, because a run has "
            f"{settings.processes} of the {len(gpus)} GPUs ({VISIBLE}={','.join(gpus)}) for itself"
        )
    return shares[:asked]


def log_done(runs: Sequence[Run], log: Log) -> list[Run]:
    """Log the runs that have a result.

    Args:
        runs: The runs.
        log: Function that receives the messages.

    Returns:
        The others.
    """
    undone = []
    for number, run in enumerate(runs):
        record = _record(run)
        if record is None or record["status"] != DONE:
            undone.append(run)
        else:
            log(f"[{number + 1}/{len(runs)}] {run}: already done, {scores(run, record)}")
    return undone


def missing(runs: Sequence[Run]) -> int:
    """Return the number of runs without a result."""
    return sum((record := _record(run)) is None or record["status"] != DONE for run in runs)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, raise KeyboardInterrupt, so that claims are released."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _record(run: Run) -> dict[str, Any] | None:
    try:
        return read_json(run.record)
    except InputError:
        return None  # A worker reports the damage.


def _failures(runs: Sequence[Run]) -> list[int]:
    return [failures(run, _record(run)) for run in runs]


class _Processes:
    """Workers in processes of their own, which end with this process.

    Each sends its messages through a pipe of its own: a killed process cannot leave a lock behind.
    """

    def __init__(
        self, runs: Sequence[Run], shares: Sequence[tuple[str, ...]], settings: dict[str, Any]
    ) -> None:
        # A fork of a process that has computed in several threads may hang.
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, Any] = {}
        for number, gpus in enumerate(shares, start=1):
            receive, send = context.Pipe(duplex=False)
            process = context.Process(
                target=_work_in_process,
                args=(send, os.getpid(), list(runs), {**settings, "gpus": gpus}),
                name=f"worker {number}",
                daemon=True,
            )
            process.start()
            send.close()
            self._processes[receive] = process

    def follow(self, log: Log) -> None:
        """Log the messages of the workers until all of them have ended.

        Raises:
            RuntimeError: If a worker ended with an error that is not the user's.
        """
        try:
            while self._processes:
                for pipe in wait(list(self._processes)):
                    assert isinstance(pipe, Connection)
                    try:
                        log(pipe.recv())
                    except (EOFError, OSError):  # It has ended, maybe within a message.
                        self._ended(self._processes.pop(pipe), log)
        except BaseException:
            self._stop()
            raise

    def _ended(self, process: Any, log: Log) -> None:
        process.join()
        code = process.exitcode
        if code < 0 or code in (INTERRUPTED, 128 + signal.SIGTERM):
            how = f"killed by signal {-code}" if code < 0 else "stopped"
            rest = "the others take its runs over" if self._processes else "no other is left"
            log(f"{process.name} was {how}; {rest}")
        elif code:
            raise RuntimeError(f"{process.name} ended with the error above")

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(30)
            process.kill()
        for process in self._processes.values():
            process.join()


def _work_in_process(
    send: Connection, parent: int, runs: Sequence[Run], settings: dict[str, Any]
) -> None:
    end_with(parent)
    log_only_warnings()
    dead_after = settings.pop("dead_after")
    claims = Claims(runs[0].settings.folder / "records", dead_after=dead_after)
    try:
        with _interrupted_once():
            work(runs, send.send, claims=claims, announce=False, **settings)
    except KeyboardInterrupt:
        # Without a traceback: the first process reports the interrupt.
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM raise KeyboardInterrupt, and ignore others.

    On Ctrl-C, a terminal sends SIGINT to all processes, and the first process then ends the others,
    which by then are already ending their children.
    """
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_: Any) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in signals:
        signal.signal(each, interrupt)
    yield
