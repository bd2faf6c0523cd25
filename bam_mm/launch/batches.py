"""Batches of evaluations, no larger than the memory that is free.

Where nothing is trained, results do not depend on the batch, and neither does a protocol. An image
of H x W pixels is taken to need :data:`NEEDED` times its 3 x H x W float32 values (0.5 MB at 32 px,
24 MB at 224 px), and a batch may take a quarter of the free memory of the GPU, or of the machine if
there is none. A batch that would need more is halved until it fits. The config's ``batch_size`` is
therefore the largest; one that the command line sets stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bam_mm.checkpoint.geometry import read_geometry
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.reach import changed_by
from bam_mm.launch.stated_preprocessing import LOOP_LOADERS
from bam_mm.registry import DATASETS
from bam_mm.variables.entries import kind_of

NEEDED = 40
"""Memory of an image in a forward pass, as a multiple of its float32 values.

On a CPU, the peak is 10 to 38 times as large in ResNet-18 and -50, EfficientNet-Lite0, ConvNeXt-B,
Swin-T, ViT-S and ViT-B.
"""

SHARE = 4
"""A batch may take one part in this many of the free memory."""

RUNS = "BAM_MM_RUNS"
"""Environment variable with the number of runs that share cores and memory of the machine."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")


def evaluation_loaders(config: Config) -> dict[str, Any]:
    """Return the loaders of evaluations of single images by their keys in the config.

    Args:
        config: Config of a run. Those of detection, segmentation and video have no such loaders.
    """
    if config.get("default_scope") in SCOPES or kind_of(config.model) == "LabelPropagation":
        return {}
    loop = config.get("test_cfg") or {}
    loaders = {name: config.get(name) for name in ("val_dataloader", "test_dataloader")}
    loaders |= {f"test_cfg.{name}": loop.get(name) for name in LOOP_LOADERS}
    return {
        name: loader
        for name, loader in loaders.items()
        if isinstance(loader, Mapping) and isinstance(loader.get("batch_size"), int)
    }


def explicit_batches(config: Config, options: Iterable[str]) -> dict[str, int]:
    """Return the batch sizes of evaluations that options have set, by their keys in the config.

    Args:
        config: Config with the options in it, before anything else has changed it.
        options: Keys of the config that the command line has set, also of variables that a loader
            copies.
    """
    changed = changed_by(config, options)
    return {
        f"{name}.batch_size": loader["batch_size"]
        for name, loader in evaluation_loaders(config).items()
        if any(f"{name}.batch_size.".startswith(f"{key}.") for key in changed)
    }


def fit_batches(
    config: Config, *, kept: Collection[str] = (), only: Collection[str] | None = None
) -> list[str]:
    """Reduce the batches of evaluations that would need more than their share of the memory.

    Args:
        config: Config of the run with the preprocessing of its model, changed in place.
        kept: Keys of the batches that stay, see :func:`explicit_batches`.
        only: Keys of the loaders that the run uses; None for all.

    Returns:
        A line for the log about each batch that changed.
    """
    memory, lines = free_memory(), []
    for name, loader in evaluation_loaders(config).items():
        before, key = loader["batch_size"], f"{name}.batch_size"
        if memory is None or key in kept or before < 2 or (only and name not in only):
            continue
        size = input_size(config, loader)
        if size is not None and (batch := batch_that_fits(before, size, memory)) < before:
            loader["batch_size"] = batch
            lines.append(
                f"{key}: {batch} instead of {before}, because {size[1]} x {size[0]} px images need "
                f"about {image_bytes(size) / 2**20:.0f} MiB each and {memory / 2**30:.1f} GiB are "
                f"free; --cfg-options {key}={before} keeps it"
            )
    return lines


def batch_that_fits(most: int, size: tuple[int, int], memory: float) -> int:
    """Halve a batch until it needs no more than its share of the memory.

    Args:
        most: Number of images of the largest batch.
        size: Height and width of an image in pixels.
        memory: Free memory in bytes.

    Returns:
        A number of images, at least 1.
    """
    batch = most
    while batch > 1 and batch * image_bytes(size) > memory / SHARE:
        batch //= 2
    return batch


def image_bytes(size: tuple[int, int]) -> int:
    """Estimate the memory in bytes that a forward pass needs for an image of a size (H, W)."""
    return NEEDED * 3 * size[0] * size[1] * torch.float32.itemsize


def input_size(config: Config, loader: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the size (H, W) in pixels of the images that a loader hands to the model.

    Args:
        config: Config of the run.
        loader: Config of a loader. If its pipeline does not resize, its first image is read.

    Returns:
        The size; None if it is not known, because the data cannot be read.
    """
    data = loader["dataset"]
    while isinstance(data.get("dataset"), Mapping):
        data = data["dataset"]
    stated = read_geometry(data.get("pipeline"))
    if stated is not None:
        return stated.size, stated.size
    with suppress(Exception):  # The run itself reports what is wrong with its data.
        init_default_scope(config.get("default_scope", "mmpretrain"))
        height, width = DATASETS.build(loader["dataset"])[0]["inputs"].shape[-2:]
        return height, width
    return None


def free_memory() -> int | None:
    """Return the memory in bytes that this process may take: of its GPU, or of the machine.

    Several processes, and several runs of the suite, get equal parts of the machine's.
    """
    if torch.cuda.is_available():
        rank = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
        return torch.cuda.mem_get_info(rank % torch.cuda.device_count())[0]
    try:
        lines = MEMORY.read_text().splitlines()
    except OSError:  # No Linux.
        return None
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return min([*available, *_left_in_control_groups()], default=0) // sharing() or None


def sharing() -> int:
    """Return the number of processes that share the machine: those of this run and of others."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) * int(os.environ.get(RUNS) or 1)


def _left_in_control_groups() -> list[int]:
    """Return what the limits of containers and batch systems leave, in bytes."""
    left = []
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            most = (CONTROL_GROUPS / limit).read_text().strip()
            if most != "max":
                stat = (CONTROL_GROUPS / limit).with_name("memory.stat").read_text().split()
                # Files in the cache give way.
                reclaimable = int(dict(zip(stat[::2], stat[1::2], strict=False)).get(cached, 0))
                now = int((CONTROL_GROUPS / used).read_text()) - reclaimable
                left.append(max(int(most) - now, 1))
    return left
