"""Reading what a run logged."""

from __future__ import annotations

import json
from pathlib import Path

from bam_mm.errors import InputError


def read_scalars(work_dir: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Collect the scalars of a run, over all its starts.

    Args:
        work_dir: Folder of the run; mmengine writes ``<time>/vis_data/scalars.json`` in it.

    Returns:
        For each name the (step, value) pairs in the order of their steps; where a resumed run
        logged a step again, the later value counts.

    Raises:
        InputError: If there is no log.
    """
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    if not files:
        raise InputError(
            f"{work_dir} holds no log (<time>/vis_data/scalars.json): name the work folder of a "
            "run of tools/train.py"
        )
    series: dict[str, dict[int, float]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            step = int(entry["step"])
            for name, value in entry.items():
                if isinstance(value, (int, float)) and name not in ("step", "epoch", "iter"):
                    series.setdefault(name, {})[step] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}
