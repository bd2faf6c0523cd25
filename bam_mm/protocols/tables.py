"""Tables of the feature protocols: on the terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

Row = Mapping[str, float | int | str]


def print_rows(title: str, rows: Sequence[Row], scale: float = 1.0) -> None:
    """Print a table.

    Args:
        title: Above it.
        rows: All with the same keys, the columns. Fractional numbers get two decimals.
        scale: Factor on them; 100 makes per cent.
    """
    table = Table(*rows[0])
    for row in rows:
        table.add_row(
            *(f"{scale * v:.2f}" if isinstance(v, float) else str(v) for v in row.values())
        )
    console = Console()
    if not console.is_terminal:
        # Into a file or a pipe: as wide as the table, instead of folding its words.
        console = Console(width=120)
    # As a table's own title it would be folded to the table's width.
    console.print(title, table, sep="\n")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as CSV, and the same values beside it as JSON.

    Args:
        path: Of the CSV file; its folder is made.
        rows: All with the same keys.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_json(path.with_suffix(".json"), rows)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
