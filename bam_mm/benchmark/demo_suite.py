"""The demo's second half: every task of the toy suite, for BAM and for random weights."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from mmengine.logging import MMLogger

from bam_mm.benchmark.report import write_report
from bam_mm.benchmark.suite.definitions import load_suite
from bam_mm.benchmark.suite.models import read_models
from bam_mm.benchmark.suite.pictures import draw_pictures
from bam_mm.benchmark.suite.planning import Settings, plan
from bam_mm.benchmark.suite.running import run_all
from bam_mm.data.subset_writer import subset_name, write_subset

RANDOM = "random weights=random:vit-toy-p8"
MOST_JOBS = 4
"""Runs side by side at most: each takes a gigabyte."""


def run_suite(
    checkpoint: Path,
    *,
    data: Path,
    out: Path,
    tasks: list[str] | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run the toy suite for a checkpoint and random weights, write the page.

    Args:
        checkpoint: Of BAM.
        data: Folder in which the toy world ``toy`` lies.
        out: Work folder of the benchmark. What is done there is not done again.
        tasks: Names; None for all.
        limit: Images of each data set at most, for a try.
        say: Is told the progress.

    Returns:
        How many runs have no result.
    """
    for percent in (10, 1):
        if not (data / "toy/images/subsets" / subset_name(percent, 0)).is_file():
            write_subset(data / "toy/images", percent=percent)
    # mmengine reports every tensor that init_weights leaves alone.
    MMLogger.get_instance("suite", log_level="WARNING")
    suite = load_suite("toy")
    models = read_models([f"BAM=bam:{checkpoint}", RANDOM])
    settings = Settings(folder=out.absolute(), data=data.absolute(), limit=limit)
    runs = plan(suite, suite.choose(tasks), models, [0], settings)
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    say(f"every task for {' and '.join(m.name for m in models)}, {jobs} at a time:")
    missing = run_all(runs, say, jobs=jobs)
    draw_pictures(runs, say)
    page, *tables = write_report(suite, settings.folder)
    for path in (*tables, page):
        say(str(path))
    show(page)
    return missing


def show(page: Path) -> bool:
    """Open a page in the browser, where there is somebody to look at it.

    Args:
        page: The file.

    Returns:
        Whether it was opened.
    """
    # Linux sets one of these where there is a screen.
    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return bool(screen and sys.stdout.isatty() and webbrowser.open(page.absolute().as_uri()))
