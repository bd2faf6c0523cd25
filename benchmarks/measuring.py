"""Time by alternating runs, and memory in a fresh process."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def alternate(ours: Callable, baseline: Callable, runs: int) -> tuple[float, float, float]:
    """Call two functions in turn.

    Args:
        ours: Called first in each pair of runs.
        baseline: Called second.
        runs: Number of pairs; one more before them is not counted.

    Returns:
        Median seconds of both, and the median of the ratios baseline / ours within each pair.
    """
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(runs + 1)][1:]
    fast, slow = (statistics.median(column) for column in zip(*pairs, strict=True))
    return fast, slow, statistics.median(b / a for a, b in pairs)


def seconds(function: Callable) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def extra_memory(function: Callable) -> float:
    """Measure how far one call raises this process's resident size at its peak (Linux).

    The peak is VmHWM of /proc/self/status, reset through /proc/self/clear_refs. Let the function
    run once on a small input before, so that what it loads is not counted.

    Returns:
        MiB.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at the present size
    before = _resident_mib("VmRSS")
    function()
    return _resident_mib("VmHWM") - before


def in_fresh_process(*command: object) -> float:
    """Run a script that prints one number, in a process whose memory nothing else has used."""
    arguments = [sys.executable, *map(str, command)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
