"""Cache of extracted features.

The name of a cache file is a digest of what the features depend on: every weight, the config of the
backbone and which of its outputs is used, the images, the transforms, the normalisation, and the
versions of the libraries. A change of any of them leads to another file.

Images are not read, and most of their files are not even looked at, as a large data set has
millions of them. Of the images, the digest covers:

- the list: the path and the label of each image in their order, and the names of the classes;
- the modification time of each folder that directly contains an image;
- size and modification time of at most ``CHECKED_FILES`` files, at even intervals in the list;
- every pixel of images that are in memory.

Images that are added, removed, renamed, moved or relabelled are therefore always noticed. So is a
file that is replaced by a new one under the same name, as most programs save files (the time of its
folder changes), and any other change to a file of a data set of at most ``CHECKED_FILES`` images.
In a larger data set, a file that is rewritten in place (opened and overwritten, or behind a link
into another folder) is noticed only if it is one of the checked files: re-encoding all images is,
changing a few of them may not be. A file whose size and time are restored is never noticed. On the
other hand, any other file that appears in a folder of images, or is deleted there, leads to another
digest, and the features are extracted again.

The first process computes the digest of the images and shares it. On several machines, it looks
only at the files of its own.
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

from bam_mm.distributed import gather_objects, true_on_all, world_size
from bam_mm.errors import InputError
from bam_mm.models.feature_extraction import extract_features
from bam_mm.version import __version__

FORMAT = "1"
"""Version of the file format; part of the key."""

CHECKED_FILES = 1000
"""Largest number of image files whose size and modification time are looked at."""


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
    options: dict[str, Any] = dict(description=description, gather=True)
    weights = None if folder is None and world_size() == 1 else _common_digest(model)
    if folder is None:
        return extract_features(model, preprocess, loader, **options)
    dataset: BaseDataset = loader.dataset
    facts = _facts(model, weights, dataset, settings) if is_main_process() else {}
    key = gather_objects(key_of(facts) if facts else None)[0]
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


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's tensors: names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def images_digest(dataset: BaseDataset) -> str:
    """Return the SHA-256 of a data set's images, without reading their files.

    The module's docstring lists what the digest covers.

    Args:
        dataset: Data set that the features are extracted from.
    """
    digest = hashlib.sha256(str(dataset.metainfo.get("classes")).encode())
    count = len(dataset)
    checked = min(count, CHECKED_FILES)
    files = {number * count // checked for number in range(checked)}
    folders = set()
    for index in range(count):
        info = dataset.get_data_info(index)
        path = info.get("img_path")
        digest.update(f"{info.get('gt_label')} {path} ".encode())
        if isinstance(info.get("img"), np.ndarray):
            digest.update(np.ascontiguousarray(info["img"]).data)
        elif path:
            folders.add(os.path.dirname(path))
            if index in files:
                digest.update(_size_and_time(path))
    for folder in sorted(folders):
        digest.update(_time(folder or os.curdir))
    return digest.hexdigest()


def _size_and_time(path: str) -> bytes:
    # If the file is missing, loading the image reports it, with the remedy.
    with suppress(OSError):
        facts = os.stat(path)
        return f"{facts.st_size} {facts.st_mtime_ns};".encode()
    return b""


def _time(folder: str) -> bytes:
    with suppress(OSError):
        return f"{folder} {os.stat(folder).st_mtime_ns};".encode()
    return b""


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
