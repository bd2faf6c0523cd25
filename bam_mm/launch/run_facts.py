"""Facts about the machine that only the run itself can measure, for its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from bam_mm.checkpoint import write_whole
from bam_mm.data.checks.labels import batch_size_of
from bam_mm.distributed import gather_objects, world_size
from bam_mm.models.cost import peak_mb


def write_facts(
    work_dir: str | Path,
    part: str,
    *,
    peak_gpu_mb: float | None,
    precision: str | None,
    preprocessing: dict[str, Any] | None = None,
    loaders: Mapping[str, DataLoader] | None = None,
    cost: Mapping[str, Any] | None = None,
) -> None:
    """Write ``<part>_facts.json`` at the end of a run; every process must call this function.

    Args:
        work_dir: Work folder of the run.
        part: Part of the run, ``train`` or ``test``.
        peak_gpu_mb: Peak GPU memory of this process in MiB, None without a GPU; see
            :class:`~bam_mm.launch.gpu_memory.PeakGPUMemory`.
        precision: Precision in which a frozen backbone computed; None if there was none.
        preprocessing: Preprocessing of the images, see
            :meth:`~bam_mm.checkpoint.preprocessing.Preprocessing.facts`.
        loaders: Dataloaders that the run has read, by name.
        cost: Cost of the model, see :func:`~bam_mm.launch.model_cost.model_cost`.
    """
    gpu = torch.cuda.is_available()
    mine = {
        "peak_mb": peak_mb(),
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "peak_gpu_mb": peak_gpu_mb,
    }
    every = gather_objects(mine)
    if not is_main_process():
        return
    peaks = [facts["peak_gpu_mb"] for facts in every if facts["peak_gpu_mb"] is not None]
    memory = [facts["peak_mb"] for facts in every if facts["peak_mb"] is not None]
    facts = {
        "processes": world_size(),
        "devices": sorted({facts["device"] for facts in every}),
        "peak_mb": max(memory, default=None),
        "peak_gpu_mb": max(peaks, default=None),
        "precision": precision,
        "preprocessing": preprocessing,
        "loaders": {name: loader_facts(loader) for name, loader in (loaders or {}).items()},
        "size": first_size(loaders["test"]) if loaders and "test" in loaders else None,
        "cost": cost,
    }
    write_whole(Path(work_dir) / f"{part}_facts.json", (json.dumps(facts) + "\n").encode())


def loaders_of(runner: Runner, part: str) -> dict[str, DataLoader]:
    """Return the dataloaders of a run that has ended, by name.

    Args:
        runner: Runner of the run.
        part: Part of the run, ``train`` or ``test``.

    Returns:
        ``train`` and ``val``, or ``test`` and the names of the others that a loop on features has.
    """
    if part == "test":
        loop: Any = runner.test_loop
        return dict(getattr(loop, "loaders", None) or {"test": loop.dataloader})
    loops: dict[str, Any] = {"train": runner.train_loop, "val": runner.val_loop}
    return {name: loop.dataloader for name, loop in loops.items() if loop is not None}


def loader_facts(loader: DataLoader) -> dict[str, Any]:
    """Return what a reader asks about the data of a run.

    Args:
        loader: Dataloader of images or of videos.

    Returns:
        ``images`` and the ``batch`` of a process, or ``videos`` and their ``names``.
    """
    dataset: Any = loader.dataset
    if hasattr(dataset, "videos"):
        return {"videos": len(dataset.videos), "names": [video.name for video in dataset.videos]}
    return {"images": len(dataset), "batch": batch_size_of(loader)}


def first_size(loader: DataLoader) -> list[int] | None:
    """Return the size (H, W) in pixels of the first image that a loader of test images yields.

    Args:
        loader: Dataloader of test images.

    Returns:
        The size; None if its items are no images.
    """
    try:
        return list(cast(Any, loader.dataset)[0]["inputs"].shape[-2:])
    except (AttributeError, KeyError, TypeError, IndexError):
        return None


def read_facts(work_dir: str | Path, part: str) -> dict[str, Any]:
    """Read the file of :func:`write_facts`.

    Args:
        work_dir: Work folder of the run.
        part: Part of the run, ``train`` or ``test``.

    Returns:
        The facts by name; empty if the run has not ended.
    """
    path = Path(work_dir) / f"{part}_facts.json"
    return json.loads(path.read_text()) if path.is_file() else {}
