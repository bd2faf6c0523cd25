"""Ending together with the process that gave the order."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

WATCHED = "BAM_MM_ENDS_WITH"
"""Environment variable: the process without which this one has no purpose."""


def end_with(pid: int, *, every: float = 0.5) -> None:
    """End this process as soon as another one is gone, however that one was stopped.

    A run started by the benchmark would otherwise go on when the benchmark is killed, and write
    into the folder of the run that is started in its place.

    Args:
        pid: Of the other process.
        every: Seconds between two looks.
    """

    def watch() -> None:
        while _exists(pid):
            time.sleep(every)
        os._exit(143)

    threading.Thread(target=watch, name="end-with", daemon=True).start()


def end_with_the_watched() -> None:
    """Do so for the process that the environment names, if it names one."""
    pid = os.environ.get(WATCHED, "")
    if pid.isdigit():
        end_with(int(pid))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # "pid (name) state ...": one that ended, but that nobody has asked for its exit code.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True  # No /proc here.
