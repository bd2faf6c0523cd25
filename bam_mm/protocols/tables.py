"""Tables of the feature protocols, printed on the terminal and written as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

Row = Mapping[str, float | int | str]


def print_rows(title: str, rows: Sequence[Row], scale: float = 1.0) -> None:
    """Print a table on the terminal.

    Args:
        title: Title above the table.
        rows: Rows with the same keys, which name the columns. Floats are shown with two decimals.
        scale: Factor applied to floats, such as 100 for per cent.
    """
    table = Table(*rows[0])
    for row in rows:
        table.add_row(
            *(f"{scale * v:.2f}" if isinstance(v, float) else str(v) for v in row.values())
        )
    console = Console()
    if not console.is_terminal:
        # For a file or a pipe, rich assumes 80 columns, which would wrap the cells.
        console = Console(width=120)
    # As the title of the rich table, it would be wrapped to the width of the table.
    console.print(title, table, sep="\n")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as CSV, and as JSON next to it.

    Args:
        path: CSV file to write; its folder is created if needed.
        rows: Rows with the same keys, which name the columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_json(path.with_suffix(".json"), rows)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, creating its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
