"""Whether another process still lives, and ending this process together with another one."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

WATCHED = "BAM_MM_ENDS_WITH"
"""Environment variable with the process that this one ends with: its id, or ``ID@HOST``."""

DEAD_AFTER = 300.0
"""Default time in seconds after which a process of another machine counts as dead if it gives no
sign."""


def end_with(pid: int, *, every: float = 0.5) -> None:
    """End this process as soon as another one has ended, even if that one was killed.

    Otherwise, a run started by the benchmark would continue after the benchmark is killed, and
    write into the folder of the run that replaces it.

    Args:
        pid: Id of the other process.
        every: Interval between two checks in seconds.
    """

    def watch() -> None:
        while start_of(pid) is not None:
            time.sleep(every)
        os._exit(143)

    threading.Thread(target=watch, name="end-with", daemon=True).start()


def end_with_the_watched() -> None:
    """Call :func:`end_with` for the process that the environment variable names, if it is set.

    A process of another machine, where ``srun`` may start this one, cannot be watched.
    """
    pid, _, host = os.environ.get(WATCHED, "").partition("@")
    if pid.isdigit() and host in ("", socket.gethostname()):
        end_with(int(pid))


def start_of(pid: int) -> str | None:
    """Return when a process has started, which tells it from a later one with the same id.

    Args:
        pid: Id of a process of this machine.

    Returns:
        Its start in clock ticks since the machine was started; ``""`` if the system does not show
        it, as one without ``/proc``; None if there is no such process, or if it has ended.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # A process of another user.
    try:
        # "pid (name) state ...": Z is a zombie, ended but not yet reaped by its parent.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in ("Z", "X") else fields[19]
