"""The toy world on disk: which writers make it, and whether it is there already."""

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
"""One writer a format: each writes ``<world>/<name>/`` and returns its counts."""

MANIFEST = "world.json"
FORMAT = 2
"""Raised when the same seed would give other bytes than before."""


def make_world(out: str | Path, *, seed: int = 0, scale: float = 1.0) -> dict:
    """Write the toy world, or find it complete.

    Args:
        out: Folder of the world. Only a world made here is ever replaced in it.
        seed: The same seed gives the same bytes.
        scale: Factor on the number of images.

    Returns:
        The manifest: format, seed, scale and the counts of every writer.

    Raises:
        InputError: If ``scale`` is not positive, or ``out`` holds something else.
    """
    out = Path(out)
    if not scale > 0:
        raise InputError(f"--scale {scale}: the world needs a positive size, 1 is the usual one")
    wanted = {"format": FORMAT, "seed": int(seed), "scale": float(scale)}
    found = _read_manifest(out)
    if found is not None and all(found.get(key) == value for key, value in wanted.items()):
        if set(found["written"]) == set(WRITERS):
            return found
    elif found is None and out.exists() and any(out.iterdir()):
        raise InputError(
            f"{out} is not empty and holds no toy world ({MANIFEST} is missing): name another "
            "folder, or empty this one"
        )
    for name in WRITERS:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    # The manifest comes first without counts: an interrupted world is known as ours, not complete.
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
