"""Run the tasks of a suite for one or several models, and report the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from bam_mm.launch.arguments import add_trust_argument, add_vis_argument, seed
from bam_mm.registry import FORMS

SUITE_HELP = "name of a suite in configs/suites/, or path to your own suite file (.py)"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list suites, their tasks, protocols and data")
    listing.add_argument(
        "suite", nargs="?", help="suite to show in full (default: list all suites)"
    )
    for name, description in (
        ("validate", "check data and models"),
        ("run", "run everything that has no result yet"),
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
            "--launcher", default="none", help="job launcher: none, pytorch (torchrun) or slurm"
        )
        command.add_argument("--gpus", type=int, default=1, help="number of processes of each run")
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
    running = commands.choices["run"]
    running.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="maximum number of runs in parallel; they share the CPU cores, and each has its own "
        "GPUs, one for each process",
    )
    add_vis_argument(running)
    reporting = commands.add_parser("report", help="write the tables and the HTML page again")
    reporting.add_argument("suite", help=SUITE_HELP)
    for command in (running, reporting):
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
    for command in (commands.choices[name] for name in ("validate", "run", "report", "compare")):
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
    return parser.parse_args()


def main() -> int:
    """Run the command.

    Returns:
        The exit code: 0 for success, 1 for invalid input, 2 if a task has no result, 130 if the
        benchmark was interrupted.
    """
    args = parse_args()
    from bam_mm.cli.benchmark_commands import COMMANDS

    return COMMANDS[args.command](args)
