"""Cache of extracted features.

The name of a cache file is a digest of everything that the features depend on: every weight, the
config of the backbone and which of its outputs is used, the list of images with their sizes,
modification times and labels, the transforms, the normalisation, and the versions of the libraries.
A change of any of them leads to another file, so a cache file is never out of date.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import mmpretrain
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import true_on_all
from bam_mm.models.feature_extraction import extract_features
from bam_mm.version import __version__

FORMAT = "1"
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
        InputError: Same as in :func:`~bam_mm.models.feature_extraction.extract_features`.
    """
    options: dict[str, Any] = dict(description=description, gather=True)
    if folder is None:
        return extract_features(model, preprocess, loader, **options)
    dataset: BaseDataset = loader.dataset
    facts = {
        "format": FORMAT,
        "weights": weights_digest(model),
        "images": images_digest(dataset),
        "settings": settings,
        "device": next(model.parameters()).device.type,
        "versions": {
            "bam_mm": __version__,
            "torch": torch.__version__,
            "mmpretrain": mmpretrain.__version__,
        },
    }
    key = key_of(facts)
    path = Path(folder).expanduser() / f"{key}.safetensors"
    found = read_features(path, rows=len(dataset))
    # If one process cannot read the file, all of them extract, as extraction is collective.
    if true_on_all(found is not None):
        assert found is not None
        print_log(f"{description}: features from {path}", logger="current")
        device = next(model.parameters()).device
        return found[0].to(device), found[1].to(device)
    features, labels = extract_features(model, preprocess, loader, **options)
    if is_main_process():
        write_features(path, features, labels, {"what": description, **facts})
    return features, labels


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's tensors: names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def images_digest(dataset: BaseDataset) -> str:
    """Return the SHA-256 of a data set's list of images.

    The digest of an image file covers its path, size, modification time and label, but not its
    contents: the cache exists to avoid reading them. For images in memory, every pixel counts.

    Args:
        dataset: Data set that the features are extracted from.
    """
    digest = hashlib.sha256(str(dataset.metainfo.get("classes")).encode())
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        digest.update(f"{info.get('gt_label')} {info.get('img_path')} ".encode())
        if isinstance(info.get("img"), np.ndarray):
            digest.update(np.ascontiguousarray(info["img"]).data)
        elif info.get("img_path"):
            try:
                facts = os.stat(info["img_path"])
            except OSError:
                # Loading the image reports the fault, with its remedy.
                continue
            digest.update(f"{facts.st_size} {facts.st_mtime_ns};".encode())
    return digest.hexdigest()


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a digest of plain values that ignores the order of a mapping's keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def read_features(path: Path, *, rows: int) -> tuple[Tensor, Tensor] | None:
    """Read a cache file; log a warning if it is damaged.

    Args:
        path: Cache file.
        rows: Number of images in the data set.

    Returns:
        Features (N, C) and labels (N,) on the CPU; None if the file is missing or damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            features, labels = file.get_tensor("features"), file.get_tensor("labels")
            written = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
    else:
        if len(features) != rows or len(labels) != rows:
            reason = f"{len(features)} rows for {rows} images"
        elif written != _digest(features, labels):
            reason = "its contents do not match its checksum"
        else:
            return features, labels
    print_log(
        f"cached features {path} are damaged ({reason}): extracting them again",
        logger="current",
        level=logging.WARNING,
    )
    return None


def write_features(path: Path, features: Tensor, labels: Tensor, facts: Mapping[str, Any]) -> None:
    """Write a cache file, and next to it a JSON file that describes it.

    Both files get their names once they are complete: a killed run leaves no partial file, and
    runs that write at the same time leave a complete one. If a file cannot be written, a warning is
    logged and the run continues.

    Args:
        path: Cache file.
        features: Features (N, C).
        labels: Labels (N,).
        facts: Content of the JSON file, to which the shape of the features is added.
    """
    features, labels = features.cpu().contiguous(), labels.cpu().contiguous()
    own = f".{os.getpid()}.{time.time_ns()}.part"
    parts = [path.with_name(path.name + own), path.with_name(path.stem + ".json" + own)]
    about = {**facts, "rows": len(features), "width": features.shape[1]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {"features": features, "labels": labels},
            parts[0],
            metadata={"sha256": _digest(features, labels)},
        )
        parts[1].write_text(json.dumps(about, indent=2, default=repr) + "\n")
        # safetensors makes its files readable by their owner only, but the cache may be shared.
        parts[0].chmod(parts[1].stat().st_mode)
        os.replace(parts[1], path.with_suffix(".json"))
        os.replace(parts[0], path)
    except (OSError, SafetensorError) as error:
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


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
