"""A limit of images, for a quick try: the data sets of a run, checked and reduced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules
from bam_mm.launch.data_folders import check_data_folders
from bam_mm.registry import DATASETS

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def limit_data(config: Config, limit: int) -> None:
    """Reduce every data set to evenly spread images, or to the first videos.

    Args:
        config: Config of a run, changed in place.
        limit: Maximum number of images (or videos) of each data set.

    Raises:
        InputError: If ``limit`` is not positive, or the data have a fault.
    """
    check_limit(limit)
    for loader in checked_loaders(config).values():
        dataset = DATASETS.build(loader["dataset"])
        size = len(dataset)
        if hasattr(dataset, "videos"):
            loader["dataset"]["sequences"] = [video.name for video in dataset.videos[:limit]]
        elif size > limit:
            spread = np.linspace(0, size - 1, limit).round().astype(int)
            loader["dataset"]["indices"] = [int(i) for i in spread]
        loader["batch_size"] = min(loader.get("batch_size", 1), limit, size)
    loop = config.get("test_cfg") or {}
    if isinstance(loop.get("k"), (list, tuple)):
        loop["k"] = [k for k in loop["k"] if k <= limit] or [1]


def checked_loaders(config: Config) -> dict[str, Any]:
    """Return the dataloaders of a config by their keys, after the checks of a run's data.

    The checks also let mmdet's data sets read their files as in a run.

    Args:
        config: Config of a run.

    Raises:
        InputError: If the data have a fault, see
            :func:`~bam_mm.launch.data_folders.check_data_folders`.
    """
    import_custom_modules(config)
    init_default_scope(config.get("default_scope", "mmpretrain"))
    check_data_folders(config)
    loop = config.get("test_cfg") or {}
    loaders = {name: config.get(name) for name in LOADERS}
    loaders.update({f"test_cfg.{name}": loop.get(name) for name in ("bank", "train", "val")})
    return {
        name: loader
        for name, loader in loaders.items()
        if isinstance(loader, Mapping) and "dataset" in loader
    }


def check_limit(limit: int) -> None:
    """Raise an :class:`~bam_mm.errors.InputError` if a limit of images is not positive."""
    if limit < 1:
        raise InputError(f"--limit {limit}: must be at least 1, for example 100")
