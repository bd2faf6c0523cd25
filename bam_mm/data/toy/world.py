"""The toy world on disk: its writers, and the check whether it is already complete."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Collection
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bam_mm.data.file_names import is_hidden
from bam_mm.data.toy.ade20k import write_ade20k
from bam_mm.data.toy.coco import write_coco
from bam_mm.data.toy.davis import write_davis
from bam_mm.data.toy.image_folder import write_image_folder
from bam_mm.errors import InputError

WRITERS = {
    "images": write_image_folder,
    "davis": write_davis,
    "coco": write_coco,
    "ade20k": write_ade20k,
}
"""Writer of each format, which writes ``<world>/<name>/`` and returns its counts."""

MANIFEST = "world.json"
FORMAT = 2
"""Version of the world, increased when the same seed would produce different bytes."""


def make_world(
    out: str | Path, *, seed: int = 0, scale: float = 1.0, only: Collection[str] | None = None
) -> dict:
    """Write the toy world, or the parts of it that are not complete yet.

    Args:
        out: Folder of the world. Only a world written by this function is ever replaced.
        seed: Seed of the world; the same seed produces the same bytes.
        scale: Factor on the number of images.
        only: Names of the parts to write, see :data:`WRITERS`; None for all.

    Returns:
        The manifest: format, seed, scale and the counts of every part that is complete.

    Raises:
        InputError: If ``scale`` is not positive and finite, or ``out`` contains other files.
    """
    out = Path(out)
    if not 0 < scale < math.inf:
        raise InputError(f"--scale {scale}: choose a positive factor, such as the default 1")
    wanted = {"format": FORMAT, "seed": int(seed), "scale": float(scale)}
    manifest = _read_manifest(out)
    if manifest is None and out.exists() and any(not is_hidden(path) for path in out.iterdir()):
        raise InputError(
            f"{out} is not empty and contains no toy world ({MANIFEST} is missing): choose another "
            "folder, or empty this one"
        )
    if manifest is None or any(manifest.get(key) != value for key, value in wanted.items()):
        for name in WRITERS:
            shutil.rmtree(out / name, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        # A manifest without counts marks an interrupted world as ours, but incomplete.
        manifest = {**wanted, "written": {}}
        _write_manifest(out, manifest)
    missing = [
        name
        for name in WRITERS
        if name not in manifest["written"] and (only is None or name in only)
    ]
    if missing:
        _write_parts(out, missing, manifest)
    return manifest


def _write_parts(out: Path, names: Collection[str], manifest: dict) -> None:
    """Write parts, show their progress, and enter each into the manifest when it is complete."""
    with Progress(
        TextColumn("toy world: {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ) as bar:
        for name in names:
            task = bar.add_task(name, total=None)

            def progress(part: str, number: int, task=task, name=name) -> None:
                bar.update(task, description=f"{name}/{part}", completed=number)

            shutil.rmtree(out / name, ignore_errors=True)
            manifest["written"][name] = WRITERS[name](
                out / name, seed=manifest["seed"], scale=manifest["scale"], progress=progress
            )
            _write_manifest(out, manifest)


def _read_manifest(out: Path) -> dict | None:
    try:
        return json.loads((out / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write_manifest(out: Path, manifest: dict) -> None:
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
