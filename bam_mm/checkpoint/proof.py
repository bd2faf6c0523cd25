"""The proof of loading, kept beside what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bam_mm.checkpoint.backbone import LoadReport
from bam_mm.checkpoint.writing import write_whole

PROOF = "loaded_backbone.json"
"""Name of the file in a run's work folder."""


def write_proof(folder: str | Path, report: LoadReport) -> Path:
    """Write what was loaded into a run's work folder.

    Args:
        folder: The folder.
        report: What :func:`~bam_mm.checkpoint.backbone.load_backbone` gave.

    Returns:
        The file: the report's attributes, of the keys that are not used their number alone.
    """
    content = {**asdict(report), "unused": len(report.unused)}
    path = Path(folder) / PROOF
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def read_proof(folder: str | Path) -> dict[str, Any] | None:
    """What :func:`write_proof` wrote; None where nothing was loaded."""
    path = Path(folder) / PROOF
    return json.loads(path.read_text()) if path.is_file() else None
