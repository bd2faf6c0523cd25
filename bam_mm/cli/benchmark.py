"""Run the tasks of a suite for one or several models, and report the results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bam_mm.launch.arguments import add_trust_argument, add_vis_argument, seed
from bam_mm.launch.watching import DEAD_AFTER
from bam_mm.registry import FORMS

WITH_FOLDER = ("validate", "run", "worker", "slurm", "report", "compare")
"""Commands with a work folder."""

SUITE_HELP = "name of a suite in configs/suites/, or path to your own suite file (.py)"


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: Arguments after ``bam-mm benchmark``, None for those of this process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list suites, their tasks, protocols and data")
    listing.add_argument(
        "suite", nargs="?", help="suite to show in full (default: list all suites)"
    )
    for name, description in (
        ("validate", "check data and models"),
        ("run", "run everything that has no result yet, with one worker for each GPU"),
        ("worker", "be one worker of several, on any machine that sees the work folder"),
        ("slurm", "write a script by which Slurm or SkyPilot starts workers"),
    ):
        command = commands.add_parser(name, help=description)
        command.add_argument("suite", help=SUITE_HELP)
        command.add_argument(
            "--model",
            action="append",
            default=[],
            metavar="[NAME=]SPEC",
            help=f"model to evaluate: {FORMS}; repeat the option for several models",
        )
        command.add_argument(
            "--methods",
            nargs="+",
            action="extend",
            help="methods to pretrain, of a suite that pretrains (default: all)",
        )
        command.add_argument(
            "--size",
            nargs="+",
            action="extend",
            default=[],
            metavar="[NAME=]PIXELS",
            help="side of the images of one model, or of all, in tasks that do not prescribe it",
        )
        command.add_argument(
            "--tasks", nargs="+", action="extend", help="tasks to run (default: all)"
        )
        command.add_argument(
            "--seeds",
            nargs="+",
            type=int,
            action="extend",
            help="random seeds, one run for each (default: 0)",
        )
        command.add_argument(
            "--limit", type=int, help="maximum number of images of each data set, for a quick test"
        )
        command.add_argument(
            "--launcher",
            help="job launcher: none, pytorch (torchrun) or slurm (default: none for one process, "
            "otherwise pytorch)",
        )
        command.add_argument(
            "--gpus-per-run",
            "--gpus",
            dest="gpus",
            type=int,
            default=1,
            help="number of processes of each run, each with its own GPU (default: 1)",
        )
        command.add_argument(
            "--data", type=Path, default=Path("data"), help="folder of all data sets"
        )
        command.add_argument(
            "--cfg-options",
            nargs="+",
            action="extend",
            default=[],
            metavar="[TASK:]KEY=VALUE",
            help="override config settings of one task, as in knn:test_cfg.k=[20], or of all tasks",
        )
        add_trust_argument(command, like="test")
    for command in (commands.choices[name] for name in ("run", "worker", "slurm")):
        command.add_argument(
            "--tries", type=int, default=1, help="number of times that a run is tried (default: 1)"
        )
        command.add_argument(
            "--dead-after",
            type=float,
            default=DEAD_AFTER,
            metavar="SECONDS",
            help="time after which a worker of another machine that gives no sign counts as dead "
            f"(default: {DEAD_AFTER:.0f})",
        )
        add_vis_argument(command)
    commands.choices["run"].add_argument(
        "--jobs",
        type=int,
        help="number of workers; they share the CPU cores, and each has its own GPUs (default: as "
        "many as there are GPUs for, 1 without a GPU)",
    )
    _add_script_arguments(commands.choices["slurm"])
    reporting = commands.add_parser("report", help="write the tables and the HTML page again")
    reporting.add_argument("suite", help=SUITE_HELP)
    for command in (commands.choices["run"], reporting):
        command.add_argument(
            "--published",
            action="store_true",
            help="set published numbers, marked as such, beside the measured ones in the tasks "
            "that have the same protocol",
        )
    comparing = commands.add_parser("compare", help="compare two models on the same test images")
    comparing.add_argument("suite", help=SUITE_HELP)
    comparing.add_argument("models", nargs=2, metavar="NAME", help="name of a model in the tables")
    comparing.add_argument("--tasks", nargs="+", action="extend", help="tasks (default: all)")
    comparing.add_argument("--seed", type=seed, default=0, help="random seed of both runs")
    for command in (commands.choices[name] for name in WITH_FOLDER):
        command.add_argument(
            "--work-dir",
            type=Path,
            help="folder for records, runs and the report (default: work_dirs/benchmark/SUITE)",
        )
    costing = commands.add_parser(
        "cost", help="measure the time and memory of a pretraining step, by method"
    )
    costing.add_argument(
        "--model",
        action="append",
        help="method to measure: bam, simclr, byol, swav, mocov3 or mae; repeat the option for "
        "several methods (default: all)",
    )
    costing.add_argument("--backbone", default="vit-small-p16", help="backbone of all methods")
    costing.add_argument("--batch", type=int, default=8, help="number of images per step")
    costing.add_argument(
        "--crops",
        nargs="+",
        default=["2x224", "6x96"],
        help="number x side of the large crops, then of the small ones",
    )
    costing.add_argument(
        "--steps", type=int, default=5, help="number of timed steps, after one untimed step"
    )
    costing.add_argument("--rounds", type=int, default=1, help="number of rounds over all methods")
    costing.add_argument("--bf16", action="store_true", help="run the forward pass in bfloat16")
    costing.add_argument(
        "--threads", type=int, default=0, help="number of CPU threads (default: unchanged)"
    )
    costing.add_argument(
        "--work-dir",
        type=Path,
        help="work folder of a suite whose report should show the table (default: "
        "work_dirs/benchmark/cost)",
    )
    return parser.parse_args(arguments)


def _add_script_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers", type=int, default=4, help="number of workers, one a job (default: 4)"
    )
    command.add_argument(
        "--format",
        choices=("slurm", "skypilot"),
        default="slurm",
        help="what reads the file (default: slurm)",
    )
    command.add_argument(
        "--time", metavar="HH:MM:SS", help="time limit of a job of Slurm (default: 24:00:00)"
    )
    command.add_argument(
        "--cpus", type=int, help="number of CPU cores of a worker (default: 12 for each GPU)"
    )
    command.add_argument(
        "--accelerator", metavar="NAME", help="SkyPilot's name of the GPU, such as A100"
    )
    command.add_argument(
        "--out",
        type=Path,
        help="file to write (default: workers.sh or workers.yaml in the work folder)",
    )


def main() -> int:
    """Run the command.

    Returns:
        The exit code: 0 for success, 1 for invalid input, 2 if a task has no result, 130 if the
        benchmark was interrupted.
    """
    args = parse_args()
    from bam_mm.cli.benchmark_commands import COMMANDS

    return COMMANDS[args.command](args)
