"""Run a command of ``bam-mm`` as a child process and write its output to a log file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bam_mm.errors import InputError
from bam_mm.launch.batches import RUNS
from bam_mm.launch.paths import child_environment, module_command
from bam_mm.launch.watching import WATCHED
from bam_mm.suite.devices import VISIBLE

Tool = Callable[..., list[str]]
"""A function with the signature of :func:`command`: it returns the command line of a part of a
run."""

LAUNCHERS = ("none", "pytorch", "slurm")
"""Ways to start the processes of a run."""

_KILLED = re.compile(r"Signal (\d+) \(SIG\w+\) received by PID|is killed by signal: (Killed)\b")
"""What torchrun reports of a killed process, and torch of a killed worker of a data loader."""

_EXCEPTION = re.compile(r"^(?:\[rank\d+\]: ?)?[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")


@dataclass(frozen=True)
class Outcome:
    """How a child process ended.

    Attributes:
        code: Exit code, negative for a signal.
        message: One-line description of the error, ``""`` if there was none.
        signal: Signal that killed the child, or one of the processes that it started; 0 for none.
    """

    code: int
    message: str
    signal: int = 0


def command(tool: str, arguments: Sequence[str], *, launcher: str, processes: int) -> list[str]:
    """Return the command line of a command of ``bam-mm`` as a list.

    Args:
        tool: ``train`` or ``test``.
        arguments: Arguments of the command.
        launcher: One of :data:`LAUNCHERS`.
        processes: Number of processes.

    Raises:
        InputError: If the launcher is unknown or not installed, or if several processes are
            requested without a launcher.
    """
    start = module_command(tool)
    if launcher == "none":
        if processes != 1:
            raise InputError(
                f"--gpus {processes} needs a launcher: add --launcher pytorch (torchrun, with gloo "
                "on a CPU), or --launcher slurm inside an allocation"
            )
        return [*start, *arguments]
    if launcher == "pytorch":
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
        torchrun += ["--master_addr=127.0.0.1", f"--master_port={_free_port()}"]
        return [*torchrun, *start[2:], *arguments, "--launcher", "pytorch"]
    if launcher == "slurm":
        if shutil.which("srun") is None:
            raise InputError("--launcher slurm: srun is not installed; use --launcher pytorch")
        return ["srun", f"--ntasks={processes}", "--kill-on-bad-exit=1", *start, *arguments,
                "--launcher", "slurm"]  # fmt: skip
    raise InputError(f"--launcher {launcher}: choose one of {', '.join(LAUNCHERS)}")


def run_child(
    arguments: Sequence[str],
    log: Path,
    *,
    on_wait: Callable[[float], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    share: int = 1,
    gpus: Sequence[str] = (),
) -> Outcome:
    """Run a command and wait until it ends.

    If this process ends first, even by SIGKILL, the child ends too.

    Args:
        arguments: Command line, see :func:`command`.
        log: File to which the output is appended.
        on_wait: Function that is called every two seconds with the seconds since the start. An
            exception that it raises ends the child.
        on_start: Function that is called with the id of the child's process. An exception that it
            raises ends the child.
        share: Number of children that share the CPU cores and the memory. Each gets an equal part
            of the threads, unless ``OMP_NUM_THREADS`` is set.
        gpus: GPUs that the child may use, as entries for ``CUDA_VISIBLE_DEVICES``; empty for those
            that this process sees. The log names them first.

    Returns:
        The outcome.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    visible = {VISIBLE: ",".join(gpus)} if gpus else {}
    if visible:
        with log.open("a") as file:
            file.write(f"{VISIBLE}={visible[VISIBLE]}\n")
    offset = log.stat().st_size if log.exists() else 0
    start = time.monotonic()
    this = f"{os.getpid()}@{socket.gethostname()}"
    environment = child_environment({WATCHED: this, RUNS: str(share), **visible})
    if share > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // share, 1)))
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(arguments), stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            if on_start is not None:
                on_start(process.pid)
            _wait(process, start, on_wait)
        except BaseException:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
    with log.open("rb") as written:
        written.seek(offset)
        text = written.read().decode(errors="replace")
    code = process.returncode
    killed = _signal(text, code)
    return Outcome(code, _error_line(text, code, killed) if code else "", killed)


def _wait(process: subprocess.Popen, start: float, on_wait: Callable[[float], None] | None) -> None:
    while True:
        try:
            process.wait(timeout=2)
            return
        except subprocess.TimeoutExpired:
            if on_wait is not None:
                on_wait(time.monotonic() - start)


def _signal(text: str, code: int) -> int:
    """Find the signal that killed a process, also if its parent has only reported it."""
    if code < 0:
        return -code
    found = _KILLED.search(text) if code else None
    if found is not None:
        return int(found[1] or signal.SIGKILL)
    return code - 128 if code in (137, 139, 143) else 0  # The exit code of a shell, or of srun.


def _error_line(text: str, code: int, killed: int) -> str:
    """Find the line of a failed process's output that names the error."""
    if killed:  # Before all lines, because a killed process has written none about it.
        known = {each.value: f" ({each.name})" for each in signal.Signals}
        return f"killed by signal {killed}{known.get(killed, '')}"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    raised = [line for line in lines if _EXCEPTION.match(line) and "ChildFailedError" not in line]
    return raised[-1] if raised else (lines[-1] if lines else f"exit code {code} without output")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
