"""Ending this process together with the one that started it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

WATCHED = "BAM_MM_ENDS_WITH"
"""Environment variable with the id of the process that this one ends with."""


def end_with(pid: int, *, every: float = 0.5) -> None:
    """End this process as soon as another one has ended, even if that one was killed.

    Otherwise, a run started by the benchmark would continue after the benchmark is killed, and
    write into the folder of the run that replaces it.

    Args:
        pid: Id of the other process.
        every: Interval between two checks in seconds.
    """

    def watch() -> None:
        while _exists(pid):
            time.sleep(every)
        os._exit(143)

    threading.Thread(target=watch, name="end-with", daemon=True).start()


def end_with_the_watched() -> None:
    """Call :func:`end_with` for the process that the environment variable names, if it is set."""
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
        # "pid (name) state ...": Z is a zombie, ended but not yet reaped by its parent.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True  # This system has no /proc.
