"""Files by which a cluster's scheduler starts workers: a script for Slurm, a task for SkyPilot.

Each job is one worker, which ends when nothing is undone. Queues, limits, restarts and machines are
the scheduler's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import yaml

from bam_mm.errors import InputError
from bam_mm.launch.paths import child_environment, module_command

TIME = "24:00:00"
"""Default time limit of a job of Slurm."""

LEAST_TIME = 600
"""Least time limit in seconds."""

WARNING = 120
"""Seconds before the time limit at which Slurm lets a worker stop."""

CPUS = 12
"""Default number of CPU cores for each GPU."""

NO_RESULT = 2
"""Exit code of a worker if a run has failed."""


@dataclass(frozen=True)
class WorkerJobs:
    """Workers that a scheduler starts.

    Attributes:
        suite: Name of the suite.
        arguments: Arguments of ``bam-mm`` that start a worker.
        folder: Work folder, which all machines see under this path.
        workers: Number of workers.
        gpus: Number of GPUs of each worker.
        time: Time limit of a job of Slurm as ``HH:MM:SS``, None for :data:`TIME`.
        cpus: Number of CPU cores of each worker, None for :data:`CPUS` for each GPU.
        accelerator: SkyPilot's name of the GPU.

    Raises:
        InputError: If the time is invalid or too short, or if the number of cores is invalid.
    """

    suite: str
    arguments: Sequence[str]
    folder: Path
    workers: int = 4
    gpus: int = 1
    time: str | None = None
    cpus: int | None = None
    accelerator: str | None = None

    def __post_init__(self) -> None:
        if self.time is not None:
            found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", self.time)
            if found is None:
                raise InputError(
                    f"--time {self.time}: write hours, minutes and seconds, as in {TIME}"
                )
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            if ((24 * days + hours) * 60 + minutes) * 60 + seconds < LEAST_TIME:
                raise InputError(
                    f"--time {self.time}: must be at least {LEAST_TIME // 60} minutes, as a worker "
                    f"ends its run {WARNING} seconds before"
                )
        if self.cpus is not None and self.cpus < 1:
            raise InputError(f"--cpus {self.cpus}: must be at least 1")
        if "\n" in str(self.folder):
            raise InputError(f"--work-dir {self.folder}: choose a folder without a line break")

    @property
    def name(self) -> str:
        """Name of the jobs."""
        return "bam-mm-" + re.sub(r"[^A-Za-z0-9]+", "-", self.suite).strip("-").lower()

    @property
    def cores(self) -> int:
        """Number of CPU cores of each worker."""
        return self.cpus or CPUS * self.gpus

    def command(self) -> str:
        """Return the shell command of a worker, an option a line."""
        first, rest = self.arguments[:3], self.arguments[3:]
        lines = [" ".join(map(quote, module_command(*first))), *map(quote, rest)]
        return " \\\n    ".join(lines)

    def preparation(self) -> str:
        """Return the shell commands that come before that of a worker."""
        lines = [f"cd {quote(str(Path.cwd()))} || exit 1"]
        # As for the children of a worker: a checkout may not be installed.
        if path := child_environment({"PYTHONPATH": ""}).get("PYTHONPATH"):
            lines.append(f'export PYTHONPATH={quote(path)}"${{PYTHONPATH:+:$PYTHONPATH}}"')
        return "\n".join(lines)


def slurm_script(jobs: WorkerJobs) -> str:
    """Return a script for ``sbatch``: an array with one worker a job.

    A job that Slurm requeues, as after a failed node, goes on where the work folder stands. Before
    the time limit, the worker stops and the job is requeued.

    Args:
        jobs: The workers.

    Raises:
        InputError: If the name of a GPU is set.
    """
    if jobs.accelerator is not None:
        raise InputError(
            f"--accelerator {jobs.accelerator}: only --format skypilot reads it; for Slurm, "
            "request the GPU when you start the workers, as in "
            f"sbatch --gres=gpu:NAME:{jobs.gpus} FILE"
        )
    logs = jobs.folder / "workers"
    logs.mkdir(parents=True, exist_ok=True)  # Slurm does not create it.
    output = f"{str(logs).replace('%', '%%')}/%A_%a.log"
    options = [
        f"--job-name={jobs.name}",
        f"--array=0-{jobs.workers - 1}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={jobs.cores}",
        f"--gres=gpu:{jobs.gpus}",
        f"--time={jobs.time or TIME}",
        "--requeue",
        "--open-mode=append",
        f"--signal=B:USR1@{WARNING}",
        f"--output={quote(output)}",
    ]
    lines = "\n".join(f"#SBATCH {option}" for option in options)
    return f"""#!/bin/bash
{lines}
# {jobs.workers} workers of the suite {jobs.name.removeprefix("bam-mm-")}. Other options of your \
cluster go before the file:
#     sbatch --partition=NAME --account=NAME FILE

{jobs.preparation()}

# The worker, $! once it is started, ends its run, which another one, or this job when it starts
# again, resumes.
end() {{ [ -z "$!" ] || {{ kill -TERM "$!" && wait "$!"; }}; }}
trap 'end; scontrol requeue "$SLURM_JOB_ID"; exit 0' USR1
trap 'end; exit 143' TERM

{jobs.command()} &
wait "$!"
"""


def skypilot_file(jobs: WorkerJobs) -> str:
    """Return a task of SkyPilot in YAML: one worker a node.

    Args:
        jobs: The workers.

    Raises:
        InputError: If the name of the GPU is missing, or a time limit is set.
    """
    if not jobs.accelerator:
        raise InputError(
            "--format skypilot needs the name of the GPU: add --accelerator NAME, such as A100 "
            "(sky show-gpus lists the names)"
        )
    if jobs.time is not None:
        raise InputError(f"--time {jobs.time}: SkyPilot has no time limit; leave the option out")
    # A worker's exit code for a failed run would end the other nodes.
    run = f"{jobs.preparation()}\n{jobs.command()} || [ $? -eq {NO_RESULT} ]\n"
    task = {
        "name": jobs.name,
        "num_nodes": jobs.workers,
        "resources": {
            "accelerators": f"{jobs.accelerator}:{jobs.gpus}",
            "cpus": f"{jobs.cores}+",
        },
        "run": _Block(run),
    }
    return f"""\
# {jobs.workers} workers of the suite {jobs.suite}. All nodes need the folders below under the same
# paths, for example from a volume:
#     volumes:
#       {jobs.folder.parent}: NAME
{yaml.dump(task, Dumper=_Dumper, sort_keys=False, width=10**6)}"""


class _Block(str):
    """A text that is written as lines."""


class _Dumper(yaml.SafeDumper):
    """Writes :class:`_Block` in YAML's literal style."""


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)
