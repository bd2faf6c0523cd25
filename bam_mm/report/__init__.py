"""Reports of a benchmark as an HTML page, Markdown and CSV."""

from __future__ import annotations

from pathlib import Path

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.report.data import report_data
from bam_mm.report.files import (
    leaderboard_csv,
    leaderboard_latex,
    leaderboard_markdown,
    markdown,
    records_csv,
)
from bam_mm.report.page import render_page
from bam_mm.report.summary import check_one_protocol, leaderboard
from bam_mm.suite.definitions import Suite
from bam_mm.suite.records import read_records


def write_report(suite: Suite, folder: Path, *, published: bool = False) -> list[Path]:
    """Write the report of a benchmark into ``report/`` of its work folder.

    Args:
        suite: The suite.
        folder: Work folder of the benchmark.
        published: Whether the tables set published numbers beside the measured ones, in the tasks
            that have the same protocol.

    Returns:
        The files: ``index.html``, ``report.md``, ``leaderboard.csv``, ``leaderboard.tex``,
        ``leaderboard.md``, ``records.csv``.

    Raises:
        InputError: If there are no records, or a task has records of several protocols.
    """
    known = {task.name for task in suite.tasks}
    # Models appear in the order in which they were named, even if runs went in parallel and a later
    # model finished earlier.
    records = sorted(
        (record for record in read_records(folder) if record["task"] in known),
        key=lambda record: (record.get("place", 0), record["time"]["finished"]),
    )
    if not records:
        raise InputError(
            f"{folder} holds no records of the suite {suite.name}: run it first, with "
            f"bam-mm benchmark run {suite.name} --model SPEC, or name its --work-dir"
        )
    check_one_protocol(records)
    board = leaderboard(suite, records)
    contents = {
        "index.html": render_page(report_data(suite, records, folder, beside=published)),
        "report.md": markdown(suite, records, beside=published),
        "leaderboard.csv": leaderboard_csv(suite, records),
        "leaderboard.tex": leaderboard_latex(board, records, beside=published),
        "leaderboard.md": leaderboard_markdown(board, records, beside=published),
        "records.csv": records_csv(suite, records),
    }
    paths = [folder / "report" / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content.encode())
    return paths
