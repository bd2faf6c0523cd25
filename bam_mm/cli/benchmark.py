"""Every task of a suite for every model: run, and one table and one page of it."""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="suites, their tasks, protocols and data")
    listing.add_argument("suite", nargs="?", help="one suite in full (default: all in short)")
    for name, what in (("validate", "check data and models"), ("run", "run what is not done yet")):
        command = commands.add_parser(name, help=what)
        command.add_argument("suite", help="of configs/suites/, or the path of one's own")
        command.add_argument(
            "--model",
            action="append",
            default=[],
            metavar="[NAME=]SPEC",
            help="bam:PATH[@student], timm:NAME[@PATH], mmpretrain:NAME@PATH, random:NAME; again "
            "for more",
        )
        command.add_argument("--tasks", nargs="+", help="only these")
        command.add_argument("--seeds", nargs="+", type=int, default=[0], help="a run each")
        command.add_argument("--limit", type=int, help="images a data set, for a quick try")
        command.add_argument("--launcher", default="none", help="none, pytorch (torchrun) or slurm")
        command.add_argument("--gpus", type=int, default=1, help="processes of each run")
        command.add_argument("--data", type=Path, default=Path("data"), help="folder of all data")
        command.add_argument(
            "--cfg-options",
            nargs="+",
            default=[],
            metavar="[TASK:]KEY=VALUE",
            help="override settings of one task, as in knn:test_cfg.k=[20], or of all",
        )
        command.add_argument("--trust-checkpoint", action="store_true", help="as of tools/test.py")
    running = commands.choices["run"]
    running.add_argument("--jobs", type=int, default=1, help="runs side by side, sharing the cores")
    reporting = commands.add_parser("report", help="write tables and page again")
    reporting.add_argument("suite", help="of configs/suites/, or the path of one's own")
    for command in (commands.choices[name] for name in ("validate", "run", "report")):
        command.add_argument("--work-dir", type=Path, help="default: work_dirs/benchmark/SUITE")
    costing = commands.add_parser("cost", help="what a step of pretraining costs, by method")
    costing.add_argument(
        "--model", action="append", help="bam, simclr, byol, swav, mocov3, mae; default: all"
    )
    costing.add_argument("--backbone", default="vit-small-p16", help="the same for all methods")
    costing.add_argument("--batch", type=int, default=8, help="images a step")
    costing.add_argument("--crops", nargs="+", default=["2x224", "6x96"], help="large, then small")
    costing.add_argument("--steps", type=int, default=5, help="timed ones, after one that is not")
    costing.add_argument("--rounds", type=int, default=1, help="how often all methods have a turn")
    costing.add_argument("--bf16", action="store_true", help="forward pass in bfloat16")
    costing.add_argument("--threads", type=int, default=0, help="of the CPU (default: as it is)")
    costing.add_argument("--work-dir", type=Path, help="a suite's, to have the table on its page")
    return parser.parse_args()


def main() -> int:
    """Do what the command says: 0 all is well, 1 wrong input, 2 a task has no result."""
    args = parse_args()
    from bam_mm.cli.benchmark_commands import COMMANDS

    return COMMANDS[args.command](args)
