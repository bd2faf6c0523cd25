"""The report of a loaded backbone as a file in the work folder of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bam_mm.checkpoint.backbone import LoadReport
from bam_mm.checkpoint.writing import write_whole

PROOF = "loaded_backbone.json"
"""Name of the file in the work folder of a run."""


def write_proof(folder: str | Path, report: LoadReport) -> Path:
    """Write the report of a loaded backbone to the work folder of a run.

    The file contains the attributes of the report, with the number of unused keys instead of their
    list.

    Args:
        folder: Work folder of the run.
        report: Report from :func:`~bam_mm.checkpoint.backbone.load_backbone`.

    Returns:
        Path of the file.
    """
    content = {**asdict(report), "unused": len(report.unused)}
    path = Path(folder) / PROOF
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def read_proof(folder: str | Path) -> dict[str, Any] | None:
    """Read the report that :func:`write_proof` wrote to a work folder.

    Args:
        folder: Work folder of the run.

    Returns:
        The attributes of the report, or None if the run loaded no backbone.
    """
    path = Path(folder) / PROOF
    return json.loads(path.read_text()) if path.is_file() else None
