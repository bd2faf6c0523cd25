"""Cache of extracted features.

The name of a cache file is a digest of what the features depend on: every weight, the config of the
backbone and which of its outputs is used, the images, the transforms, the normalisation, the
precision in which features are computed and stored, and the versions of the libraries. A change of
any of them leads to another file. :mod:`bam_mm.protocols.feature_digests` has the changes of images
that are noticed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import mmpretrain
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_objects, rank, true_on_all, world_size
from bam_mm.errors import InputError
from bam_mm.models.cost import ExtractionMeter
from bam_mm.models.feature_extraction import extract_shards
from bam_mm.models.feature_table import FeatureShard
from bam_mm.precision import effective_precision
from bam_mm.protocols.feature_digests import images_digest, key_of, weights_digest
from bam_mm.protocols.feature_files import (
    DamagedFile,
    pieces_of,
    read_table,
    write_table,
)
from bam_mm.version import __version__

FORMAT = "2"
"""Version of the file format; part of the key."""


def cached_features(
    model: nn.Module,
    preprocess: nn.Module,
    loader: DataLoader,
    *,
    folder: str | Path | None,
    settings: Mapping[str, Any],
    description: str,
) -> tuple[Tensor, Tensor]:
    """Read the features of a data set from the cache, or extract and cache them.

    Args:
        model: Backbone, in any mode.
        preprocess: Data preprocessor of the model.
        loader: Dataloader of a data set with labels; its sampler must be ``EVALUATION_SAMPLER``.
        folder: Folder of the cache, created if it does not exist; None disables the cache.
        settings: Configs that the features depend on: backbone, preprocessor and transforms.
        description: Label of the progress bar and the messages.

    Returns:
        Features (N, C) float32 and labels (N,) int64 of the whole data set in its order, on every
        process, on the model's device.

    Raises:
        InputError: If the weights of the processes differ, and as in
            :func:`~bam_mm.models.feature_extraction.extract_features`.
    """
    features, _, labels = cached_shard(
        model,
        preprocess,
        loader,
        folder=folder,
        settings=settings,
        description=description,
        whole=True,
    )
    return features, labels


def cached_shard(
    model: nn.Module,
    preprocess: nn.Module,
    loader: DataLoader,
    *,
    folder: str | Path | None,
    settings: Mapping[str, Any],
    description: str,
    whole: bool,
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
    meter: ExtractionMeter | None = None,
) -> FeatureShard:
    """Read the features of a data set from the cache, or extract and cache them.

    Args:
        model: Same as in :func:`cached_features`.
        preprocess: Same as in :func:`cached_features`.
        loader: Same as in :func:`cached_features`.
        folder: Same as in :func:`cached_features`.
        settings: Same as in :func:`cached_features`.
        description: Same as in :func:`cached_features`.
        whole: Whether every process gets all rows. Otherwise the rows are distributed over the
            processes, and no process ever holds all of them.
        dtype: Type in which the features are stored, float32 or float16.
        precision: Precision in which the backbone computes, see
            :func:`~bam_mm.precision.computing_in`.
        meter: Meter of the extraction; features from the cache leave it as it is.

    Returns:
        The rows of this process, on the model's device.

    Raises:
        InputError: If the weights of the processes differ, and as in
            :func:`~bam_mm.models.feature_extraction.extract_shards`.
    """

    def extract() -> FeatureShard:
        options: dict[str, Any] = dict(whole=whole, dtype=dtype, precision=precision)
        options.update(description=description, meter=meter)
        return extract_shards({"": model}, preprocess, loader, **options)[""]

    weights = None if folder is None and world_size() == 1 else _common_digest(model)
    if folder is None:
        return extract()
    dataset: BaseDataset = loader.dataset
    device = next(model.parameters()).device
    facts: dict[str, Any] = {}
    if is_main_process():
        stored = {"dtype": str(dtype), "precision": effective_precision(precision, device)}
        facts = _facts(model, weights, dataset, settings) | stored
    key = gather_objects(key_of(facts) if facts else None)[0]
    path = Path(folder).expanduser() / f"{key}.safetensors"
    found = read_features(path, rows=len(dataset), whole=whole, dtype=dtype, device=device)
    # If one process cannot read the file, all of them extract, as extraction is collective.
    if true_on_all(found is not None):
        assert found is not None
        print_log(f"{description}: features from {path}", logger="current")
        return found
    del found
    shard = extract()
    write_features(path, shard, {"what": description, **facts}, whole=whole)
    return shard


def _common_digest(model: nn.Module) -> str:
    # Each process has read its own copy of the checkpoint, or drawn its own random weights. Hashing
    # takes as long in all processes as in one of them.
    digests = gather_objects(weights_digest(model))
    for process, digest in enumerate(digests):
        if digest != digests[0]:
            raise InputError(
                f"processes 0 and {process} hold different weights of the backbone, so their "
                "features would be those of two models: use the same checkpoint file on all "
                "machines, and with random weights randomness.diff_rank_seed=False"
            )
    return digests[0]


def _facts(
    model: nn.Module, weights: str | None, dataset: BaseDataset, settings: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "weights": weights,
        "images": images_digest(dataset),
        "settings": settings,
        "device": next(model.parameters()).device.type,
        "versions": {
            "bam_mm": __version__,
            "torch": torch.__version__,
            "mmpretrain": mmpretrain.__version__,
        },
    }


def read_features(
    path: Path,
    *,
    rows: int,
    whole: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> FeatureShard | None:
    """Read a cache file; log a warning if it is damaged.

    Args:
        path: Cache file.
        rows: Number of images in the data set.
        whole: Whether to read all rows, instead of consecutive rows that only this process reads.
        dtype: Type of the features.
        device: Device for the features.

    Returns:
        The rows; None if the file is missing or damaged.
    """
    if not path.is_file():
        return None
    share = [rows * number // world_size() for number in (rank(), rank() + 1)]
    part = range(rows) if whole else range(*share)
    try:
        return read_table(path, rows=rows, dtype=dtype, part=part, device=torch.device(device))
    except (DamagedFile, OSError) as error:
        reason = str(error).splitlines()[0]
    print_log(
        f"cached features {path} are damaged ({reason}): extracting them again",
        logger="current",
        level=logging.WARNING,
    )
    return None


def write_features(
    path: Path, shard: FeatureShard, facts: Mapping[str, Any], *, whole: bool = True
) -> None:
    """Write a cache file, and next to it a JSON file that describes it.

    The main process writes; every process must call this function. Both files get their names once
    they are complete: a killed run leaves no partial file, and runs that write at the same time
    leave a complete one. If a file cannot be written, a warning is logged and the run continues.

    Args:
        path: Cache file.
        shard: Rows of this process.
        facts: Content of the JSON file, to which the shape of the features is added.
        whole: Whether the shard holds all rows.
    """
    pieces = pieces_of(shard, whole=whole)
    if is_main_process():
        _write(path, pieces, shard, facts)
    if not whole:
        # Pieces are exchanged between the processes, even if the file cannot be written.
        for _ in pieces:
            pass


def _write(
    path: Path, pieces: Iterator[Tensor], shard: FeatureShard, facts: Mapping[str, Any]
) -> None:
    own = f".{os.getpid()}.{time.time_ns()}.part"
    parts = [path.with_name(path.name + own), path.with_name(path.stem + ".json" + own)]
    width, dtype = shard.features.shape[1], shard.features.dtype
    about = {**facts, "rows": len(shard.labels), "width": width}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(parts[0], pieces, shard.labels, width=width, dtype=dtype)
        parts[1].write_text(json.dumps(about, indent=2, default=repr) + "\n")
        os.replace(parts[1], path.with_suffix(".json"))
        os.replace(parts[0], path)
    except OSError as error:
        print_log(
            f"features are not cached: {path} cannot be written ({str(error).splitlines()[0]}); "
            "set a folder with free space with --cfg-options cache_dir=FOLDER, or cache_dir=None",
            logger="current",
            level=logging.WARNING,
        )
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()
