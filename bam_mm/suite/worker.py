"""One worker of a benchmark: it takes the next undone run until nothing is undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bam_mm.errors import InputError
from bam_mm.suite.child_process import Tool, command
from bam_mm.suite.claims import ClaimLost, Claims, Holder
from bam_mm.suite.devices import gpu_names
from bam_mm.suite.planning import Run
from bam_mm.suite.protocol import digest_of
from bam_mm.suite.records import DONE, read_json, write_json
from bam_mm.suite.running import not_run, run_one
from bam_mm.variables.entries import plain

Log = Callable[[str], None]
"""A function that receives progress messages."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two looks for undone runs: after a run, and at most."""

LOOKS_FOR_OTHERS = 2
"""Looks for which a run that failed here is left to workers that have nothing to do."""


def work(
    runs: Sequence[Run],
    log: Log = print,
    *,
    limits: Sequence[int],
    gpus: Sequence[str] = (),
    share: int = 1,
    claims: Claims | None = None,
    announce: bool = True,
    longest_pause: float = LONGEST_PAUSE,
    tool: Tool = command,
) -> None:
    """Take the next undone run of a plan until nothing is undone.

    A run that another worker holds is skipped and looked at again, as that worker may die. So is
    one whose pretraining has no result yet; it fails once that has failed. A run that fails here is
    left to another worker as long as there is one, and then tried here.

    Args:
        runs: Runs listed by :func:`~bam_mm.suite.planning.plan`.
        log: Function that receives progress messages.
        limits: Number of failures of each run, over all workers, after which it is left as it is.
        gpus: GPUs of this worker as entries for ``CUDA_VISIBLE_DEVICES``; empty for those that
            this process sees.
        share: Number of workers that share the CPU cores and the memory.
        claims: Claims of the work folder, None for those of this process.
        announce: Whether to log which runs of other workers are waited for.
        longest_pause: Maximum number of seconds between two looks for undone runs.
        tool: Function that returns the command line of a run's training or test.
    """
    if not runs:
        return
    claims = claims or Claims(runs[0].settings.folder / "records")
    worker = _Worker(runs, limits, log, claims, gpus=gpus, share=share, tool=tool)
    pause, looks = FIRST_PAUSE, 0
    while undone := worker.undone():
        held = worker.run_first(n for n in undone if n not in worker.failed)
        if held == {} and looks >= LOOKS_FOR_OTHERS:
            # Nobody is at work who could try what failed here.
            held = worker.run_first(n for n in undone if n in worker.failed)
        if held is None:
            pause, looks = FIRST_PAUSE, 0
            continue
        looks = 0 if held else looks + 1
        if announce:
            worker.announce(held)
        time.sleep(min(pause, longest_pause))
        pause = min(1.5 * pause, longest_pause)


def failures(run: Run, record: dict[str, Any] | None) -> int:
    """Return how often a run has failed with its present settings, over all workers.

    Args:
        run: The run.
        record: Its record, None if there is none.
    """
    if record is None or record["status"] == DONE:
        return 0
    same = record["protocol_digest"] == digest_of(run.protocol)
    same = same and record["model"] == plain(run.model.facts())
    # A smaller batch, which may be the remedy, leaves the protocol as it is.
    options = digest_of(plain(run.user_options))
    same = same and digest_of(record.get("options", {})) == options
    return record.get("tries", 1) if same else 0


class _Worker:
    """The runs of a plan as a worker sees them, and the ways in which it works on them."""

    def __init__(
        self,
        runs: Sequence[Run],
        limits: Sequence[int],
        log: Log,
        claims: Claims,
        **settings: Any,
    ) -> None:
        self.runs, self.limits, self.log, self.claims = runs, limits, log, claims
        self.settings = settings
        self.failed: set[int] = set()
        self._closed: set[int] = set()
        self._announced: dict[int, str] = {}
        self._bundle = ""
        self._numbers = {run.record: number for number, run in enumerate(runs)}
        self._models = list(dict.fromkeys(run.model.slug for run in runs))

    def undone(self) -> list[int]:
        """Return the numbers of the undone runs: first those that share the last one's features."""
        left = [n for n in range(len(self.runs)) if n not in self._closed and self._is_undone(n)]
        return sorted(left, key=lambda n: not self._bundle or self.runs[n].bundle != self._bundle)

    def run_first(self, numbers: Iterable[int]) -> dict[int, Holder] | None:
        """Run the first of several runs that no other worker holds.

        Args:
            numbers: Numbers of the runs.

        Returns:
            The holders of the runs that others hold if none can be run, because others hold them or
            their pretraining has no result yet; None if one was run, or was found to be done.
        """
        holders = {}
        for number in numbers:
            if self._waits(number):
                continue
            try:
                holder = self._run(number)
            except InputError as error:
                self._close(number, error)
                return None
            if holder is None:
                return None
            holders[number] = holder
        return holders

    def announce(self, holders: dict[int, Holder]) -> None:
        """Log who holds runs that this worker waits for, once for each claim."""
        for number, holder in holders.items():
            if self._announced.get(number) != holder.token:
                self._announced[number] = holder.token
                self.log(
                    f"{self._head(number)}: left to {holder.text}; waiting, in case it does not end"
                )

    def _waits(self, number: int) -> bool:
        """Return whether the pretraining of a run has no result yet, but may get one."""
        first = self.runs[number].pretraining
        other = None if first is None else self._numbers.get(first.record)
        return other is not None and other not in self._closed and self._is_undone(other)

    def _run(self, number: int) -> Holder | None:
        run = self.runs[number]
        claim = self.claims.take(run.claims)
        if isinstance(claim, Holder):
            return claim
        try:
            if not self._is_undone(number):
                return None  # Another worker has just finished it.
            before = read_json(run.record)
            tries = failures(run, before)
            self._bundle = run.bundle
            gpus = self.settings["gpus"]
            verb = "failed before, retrying" if before and before.get("tries", 1) else "running"
            where = f" on {gpu_names(gpus)}" if gpus else ""
            lacking = ""
            try:
                run = run.with_checkpoint()
            except InputError as error:
                lacking = str(error)
                record = not_run(run, lacking, gpus=gpus, share=self.settings["share"])
            else:
                self.log(f"{self._head(number)}: {verb}{where} ({run.task.cost})")
                record = run_one(run, claim=claim, **self.settings)
            # Order of the models in the tables: runs of several workers end in any order.
            record["place"] = self._models.index(run.model.slug)
            # Without its weights, nothing was tried.
            record["tries"] = tries if lacking else tries + 1
            claim.check(now=True)
            write_json(run.record, record)
        except ClaimLost:
            self.log(
                f"{self._head(number)}: stopped, because another worker has taken it over: this "
                f"one was not seen for {self.claims.dead_after:.0f} s"
            )
            return None
        finally:
            claim.release()
        if lacking:
            self._closed.add(number)
            self.log(f"{self._head(number)}: NOT RUN, {lacking}")
        else:
            self._report(number, record)
        return None

    def _report(self, number: int, record: dict[str, Any]) -> None:
        run, head = self.runs[number], self._head(number)
        if record["status"] == DONE:
            self.log(f"{head}: {scores(run, record)} in {record['time']['seconds']:.0f} s")
            return
        self.failed.add(number)
        limit = self.limits[number]
        again = f", try {record['tries']} of {limit}" if record["tries"] < limit else ""
        self.log(f"{head}: FAILED{again}, {record['message']} (log: {run.folder / 'run.log'})")

    def _is_undone(self, number: int) -> bool:
        """Return whether a run has no result and may be tried."""
        run = self.runs[number]
        try:
            record = read_json(run.record)
        except InputError as error:
            self._close(number, error)
            return False
        done = record is not None and record["status"] == DONE
        if done or failures(run, record) >= self.limits[number]:
            self._closed.add(number)
            return False
        return True

    def _close(self, number: int, error: InputError) -> None:
        self._closed.add(number)
        self.log(f"{self._head(number)}: NOT RUN, {error}")

    def _head(self, number: int) -> str:
        return f"[{number + 1}/{len(self.runs)}] {self.runs[number]}"


def scores(run: Run, record: dict[str, Any]) -> str:
    """Return the main metrics of a finished run for a log."""
    shown = [
        f"{metric.label} {metric.scale * record['metrics'][metric.key]:{metric.form}}"
        for metric in run.task.metrics
        if metric.main and metric.key in record["metrics"]
    ]
    return ", ".join(shown) or "no main metric"
