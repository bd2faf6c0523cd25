"""Measure time in alternating runs and memory in a fresh process, and write the results."""

import argparse
import ctypes
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def alternate(
    ours: Callable,
    baseline: Callable,
    runs: int,
    timer: Callable[[Callable], float] | None = None,
) -> tuple[float, float, float]:
    """Time two functions that are called in turn.

    Args:
        ours: Function that is called first in each pair of runs.
        baseline: Function that is called second.
        runs: Number of pairs; an additional first pair is not counted.
        timer: Function that times one call; None uses :func:`seconds`.

    Returns:
        Median seconds of both, and the median of the ratios baseline / ours within each pair.
    """
    timer = timer or seconds
    pairs = [(timer(ours), timer(baseline)) for _ in range(runs + 1)][1:]
    fast, slow = (statistics.median(column) for column in zip(*pairs, strict=True))
    return fast, slow, statistics.median(b / a for a, b in pairs)


def seconds(function: Callable) -> float:
    """Return the wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cpu_seconds(function: Callable) -> float:
    """Return the processor time that all threads of this process spend in one call.

    Other work on the machine has little effect on it, so it can be compared with a bound that is
    measured at another moment.
    """
    start = time.process_time()
    function()
    return time.process_time() - start


def extra_memory(function: Callable) -> float:
    """Measure by how much one call raises the peak resident size of this process (Linux only).

    The peak is VmHWM of /proc/self/status, reset through /proc/self/clear_refs. Run the function
    once on a small input before, so that the libraries that it loads are not counted.

    Returns:
        Extra memory in MiB.
    """
    _release_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current size
    before = _resident_mib("VmRSS")
    function()
    return _resident_mib("VmHWM") - before


def in_fresh_process(*command: object) -> float:
    """Run a script in a fresh process, and return the number that it prints last.

    Raises:
        RuntimeError: If the script fails; the message contains its last lines.
    """
    arguments = [sys.executable, *map(str, command)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-5:]
        raise RuntimeError(f"{' '.join(arguments)} failed:\n" + "\n".join(lines))
    # mmengine prints to the standard output, too.
    return float(done.stdout.split()[-1])


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--json PATH``, which ``run_all.py`` uses."""
    parser.add_argument("--json", type=Path, metavar="PATH", help="write ratios and figures")


def write_json(
    path: Path | None, ratios: Mapping[str, float], figures: Mapping[str, object]
) -> None:
    """Write the results of a benchmark for ``run_all.py``.

    Args:
        path: File to write; None writes nothing.
        ratios: Ratios baseline / ours by name. Higher is better, so a lower ratio is a regression.
            They are compared with the recorded ones.
        figures: Other results by name that JSON can represent, such as seconds, MiB or settings.
            They are not compared.

    Raises:
        ValueError: If a ratio is not a finite number above 0.
    """
    for name, ratio in ratios.items():
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"ratio {name!r} is {ratio}: it must be a finite number above 0")
    if path is not None:
        named = {name: float(ratio) for name, ratio in ratios.items()}
        path.write_text(json.dumps({"ratios": named, "figures": dict(figures)}, indent=2) + "\n")


def _release_free_memory() -> None:
    # The call could use memory that the allocator keeps without raising the resident size.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only in glibc
    if trim is not None:
        trim(0)


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
