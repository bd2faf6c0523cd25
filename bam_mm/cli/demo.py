"""Run a demo: make the toy world, pretrain a small ViT with BAM, score it in nine tasks."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from bam_mm.launch.arguments import seed

if TYPE_CHECKING:
    from rich.console import Console

    from bam_mm.suite.demo import FirstResult


def main() -> int:
    """Run the demo for one or several seeds.

    Returns:
        The exit code: 0 for success, 2 if a task has no result.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=seed, nargs="+", default=[0], help="random seeds")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), help="work folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the toy worlds")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for the size of the toy world"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        help="override config settings of the pretraining",
    )
    parser.add_argument(
        "--tasks",
        nargs="*",
        help="tasks of the toy suite for seed 0 (default: all but det, dense_knn and linear-many; "
        "without a name: none)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        help="maximum number of images of each data set in these tasks, for a quick test",
    )
    args = parser.parse_args()
    from bam_mm.launch.gpu import warn_of_unused_gpu
    from bam_mm.suite.demo import last_checkpoint, run_demo, run_toy_suite

    warn_of_unused_gpu()

    if args.tasks:
        # Report unknown tasks before the pretraining.
        from bam_mm.suite.definitions import load_suite

        load_suite("toy").choose(args.tasks)
    results = [
        run_demo(
            seed,
            data=args.data,
            out=args.out / f"seed{seed}",
            scale=args.scale,
            options=tuple(args.cfg_options),
        )
        for seed in args.seeds
    ]
    print_table(results)
    if 0 not in args.seeds or args.tasks == []:
        return 0
    from bam_mm.report import write_report

    folder = args.out / "suite"
    suite, missing = run_toy_suite(
        last_checkpoint(args.out / "seed0"),
        data=args.data,
        out=folder,
        scale=args.scale,
        tasks=args.tasks,
        limit=args.limit,
        log=lambda line: print(line, flush=True),
    )
    page, *tables = write_report(suite, folder)
    print(*tables, page, sep="\n")
    show(page)
    return 2 if missing else 0


def print_table(results: list[FirstResult], console: Console | None = None) -> None:
    """Print the scores: a row for each feature, a column for each seed, and their mean.

    Args:
        results: Results of each seed.
        console: Console to print to, by default a new one.
    """
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from bam_mm.suite.demo import K

    table = Table(title=f"kNN top-1 on the toy world's validation images, % (k={K})")
    table.add_column("feature")
    for result in results:
        table.add_column(f"seed {result.seed}", justify="right")
    if len(results) > 1:
        table.add_column("mean", justify="right")
    for name in results[0].scores:
        values = [result.scores[name] for result in results]
        mean = [float(np.mean(values))] if len(values) > 1 else []
        table.add_row(name, *(f"{value:.1f}" for value in [*values, *mean]))
    console = console or Console()
    console.print(table)
    for result in results:
        console.print(f"picture: {result.picture}", soft_wrap=True)


def show(page: Path) -> bool:
    """Open a page in the browser if the output is a terminal on a machine with a display.

    Args:
        page: HTML file.

    Returns:
        Whether the page was opened.
    """
    # On Linux, a display sets one of these variables.
    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return bool(screen and sys.stdout.isatty() and webbrowser.open(page.absolute().as_uri()))
