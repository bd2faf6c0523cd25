"""A process ends together with the one that started it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bam_mm.launch.watching import WATCHED, start_of

SOURCE = Path(__file__).resolve().parents[2] / "bam_mm/launch/watching.py"
CHILD = f"""
import runpy, time
runpy.run_path({str(SOURCE)!r})["end_with_the_watched"]()
print("watching", flush=True)
time.sleep(60)
"""


def test_it_ends_when_the_other_process_is_killed():
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True,
        env={**os.environ, WATCHED: f"{other.pid}@{socket.gethostname()}"},
    )  # fmt: skip
    # srun may start a process on another machine, where this id is that of no process.
    elsewhere = subprocess.Popen(
        [sys.executable, "-c", CHILD.replace("60", "2")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, WATCHED: "4194304@another"},
    )  # fmt: skip
    assert child.stdout.readline() == "watching\n"
    time.sleep(0.7)
    assert child.poll() is None
    other.send_signal(signal.SIGKILL)
    # The other process is a zombie, as it was not waited for yet, and counts as ended.
    assert child.wait(timeout=30) == 143
    assert start_of(other.pid) is None
    assert elsewhere.wait(timeout=30) == 0
    other.wait()
    assert start_of(other.pid) is None
    assert start_of(os.getpid()) == start_of(os.getpid()) is not None
