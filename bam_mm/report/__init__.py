"""Reports of a benchmark: a page, Markdown, CSV."""

from __future__ import annotations

from pathlib import Path

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.report.files import leaderboard_csv, markdown, records_csv
from bam_mm.report.page import page
from bam_mm.report.summary import check_one_protocol
from bam_mm.suite.definitions import Suite
from bam_mm.suite.records import read_records


def write_report(suite: Suite, folder: Path) -> list[Path]:
    """Write ``report/`` below the benchmark's work folder.

    Args:
        suite: The suite.
        folder: The work folder.

    Returns:
        The files: ``index.html``, ``report.md``, ``leaderboard.csv``, ``records.csv``.

    Raises:
        InputError: If there are no records, or those of a task are of several protocols.
    """
    known = {task.name for task in suite.tasks}
    # The models in the order in which they were named, also where runs went side by side and a
    # later one ended earlier.
    records = sorted(
        (record for record in read_records(folder) if record["task"] in known),
        key=lambda record: (record.get("place", 0), record["time"]["finished"]),
    )
    if not records:
        raise InputError(
            f"{folder} holds no records of the suite {suite.name}: run it first, with "
            f"tools/benchmark.py run {suite.name} --model SPEC, or name its --work-dir"
        )
    check_one_protocol(records)
    contents = {
        "index.html": page(suite, records, folder),
        "report.md": markdown(suite, records),
        "leaderboard.csv": leaderboard_csv(suite, records),
        "records.csv": records_csv(suite, records),
    }
    paths = [folder / "report" / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content.encode())
    return paths
