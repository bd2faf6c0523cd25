"""The toy world on disk: its writers, and the check whether it is already complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


def make_world(out: str | Path, *, seed: int = 0, scale: float = 1.0) -> dict:
    """Write the toy world, unless it is already complete.

    Args:
        out: Folder of the world. Only a world written by this function is ever replaced.
        seed: Seed of the world; the same seed produces the same bytes.
        scale: Factor on the number of images.

    Returns:
        The manifest: format, seed, scale and the counts of every writer.

    Raises:
        InputError: If ``scale`` is not positive, or ``out`` contains other files.
    """
    out = Path(out)
    if not scale > 0:
        raise InputError(f"--scale {scale}: choose a positive factor, such as the default 1")
    wanted = {"format": FORMAT, "seed": int(seed), "scale": float(scale)}
    found = _read_manifest(out)
    if found is not None and all(found.get(key) == value for key, value in wanted.items()):
        if set(found["written"]) == set(WRITERS):
            return found
    elif found is None and out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} is not empty and contains no toy world ({MANIFEST} is missing): choose another "
            "folder, or empty this one"
        )
    for name in WRITERS:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    # A manifest without counts marks an interrupted world as ours, but incomplete.
    _write_manifest(out, {**wanted, "written": {}})
    written = {}
    with Progress(
        TextColumn("toy world: {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ) as bar:
        for name, write in WRITERS.items():
            task = bar.add_task(name, total=None)

            def progress(part: str, number: int, task=task, name=name) -> None:
                bar.update(task, description=f"{name}/{part}", completed=number)

            written[name] = write(out / name, seed=seed, scale=scale, progress=progress)
    manifest = {**wanted, "written": written}
    _write_manifest(out, manifest)
    return manifest


def _read_manifest(out: Path) -> dict | None:
    try:
        return json.loads((out / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write_manifest(out: Path, manifest: dict) -> None:
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
