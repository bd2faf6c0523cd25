"""Time by alternating runs, memory in a fresh process, and what a script writes of them."""

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
    """Call two functions in turn.

    Args:
        ours: Called first in each pair of runs.
        baseline: Called second.
        runs: Number of pairs; one more before them is not counted.
        timer: Times one call; None is :func:`seconds`.

    Returns:
        Median seconds of both, and the median of the ratios baseline / ours within each pair.
    """
    timer = timer or seconds
    pairs = [(timer(ours), timer(baseline)) for _ in range(runs + 1)][1:]
    fast, slow = (statistics.median(column) for column in zip(*pairs, strict=True))
    return fast, slow, statistics.median(b / a for a, b in pairs)


def seconds(function: Callable) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cpu_seconds(function: Callable) -> float:
    """Time one call by the processor time of this process, all threads together.

    Other work on the machine counts little: for the share of a bound that is measured at another
    moment.
    """
    start = time.process_time()
    function()
    return time.process_time() - start


def extra_memory(function: Callable) -> float:
    """Measure how far one call raises this process's resident size at its peak (Linux).

    The peak is VmHWM of /proc/self/status, reset through /proc/self/clear_refs. Let the function
    run once on a small input before, so that what it loads is not counted.

    Returns:
        MiB.
    """
    _give_back_what_is_free()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at the present size
    before = _resident_mib("VmRSS")
    function()
    return _resident_mib("VmHWM") - before


def in_fresh_process(*command: object) -> float:
    """Run a script that prints one number, in a process whose memory nothing else has used."""
    arguments = [sys.executable, *map(str, command)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark take ``--json PATH``, as ``run_all.py`` calls it."""
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write ratios and figures")


def write_json(
    path: Path | None, ratios: Mapping[str, float], figures: Mapping[str, object]
) -> None:
    """Write what a benchmark measured, for ``run_all.py``.

    Args:
        path: The file; None writes nothing.
        ratios: Name: baseline / ours, so that more is better and a drop is a regression. These are
            compared with the recorded ones.
        figures: Name: anything else worth keeping that JSON can hold, such as seconds, MiB or the
            settings. These are not compared.

    Raises:
        ValueError: If a ratio is not a finite number above 0.
    """
    for name, ratio in ratios.items():
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"ratio {name!r} is {ratio}: it must be a finite number above 0")
    if path is not None:
        named = {name: float(ratio) for name, ratio in ratios.items()}
        path.write_text(json.dumps({"ratios": named, "figures": dict(figures)}, indent=2) + "\n")


def _give_back_what_is_free() -> None:
    # What is kept of memory that was freed would serve the call without raising the resident size.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
