"""Features extracted once: kept by what they were made from.

A file's name is a digest of everything that features hang on: each weight, the backbone's config
and which of its outputs is taken, the list of images with their sizes, times and labels, the
transforms, the normalisation, and the versions of the libraries. So a change of any of them is
another file, and no file is ever out of date.
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
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bam_mm.distributed import true_on_all
from bam_mm.models.feature_extraction import extract_features
from bam_mm.version import __version__

FORMAT = "1"
"""Of the files; part of the key."""


def cached_features(
    model: nn.Module,
    preprocess: nn.Module,
    loader: DataLoader,
    *,
    folder: str | Path | None,
    settings: Mapping[str, Any],
    description: str,
) -> tuple[Tensor, Tensor]:
    """Features of a data set, from the cache if they are there.

    Args:
        model: As for :func:`~bam_mm.models.feature_extraction.extract_features`.
        preprocess: Likewise.
        loader: Likewise.
        folder: Of the cache, made if it does not exist; None extracts and keeps nothing.
        settings: What else the features hang on: configs of backbone, preprocessor and transforms.
        description: For the progress bar and messages.

    Returns:
        Features (N, C) float32 and labels (N,) int64 of the whole data set in its order, on every
        process, on the model's device.

    Raises:
        InputError: As :func:`~bam_mm.models.feature_extraction.extract_features`.
    """
    options = dict(description=description, gather=True)
    if folder is None:
        return extract_features(model, preprocess, loader, **options)
    facts = {
        "format": FORMAT,
        "weights": weights_digest(model),
        "images": images_digest(loader.dataset),
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
    found = read_features(path, rows=len(loader.dataset))
    # Where one process cannot read the file, all of them extract: extraction is done together.
    if true_on_all(found is not None):
        print_log(f"{description}: features from {path}", logger="current")
        device = next(model.parameters()).device
        return found[0].to(device), found[1].to(device)
    features, labels = extract_features(model, preprocess, loader, **options)
    if is_main_process():
        write_features(path, features, labels, {"what": description, **facts})
    return features, labels


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's tensors: names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def images_digest(dataset: Dataset) -> str:
    """SHA-256 of a data set's list of images.

    Of a file its path, size, time of change and label count, not its contents: reading those is
    what the cache is there to avoid. Images that are held in memory count with every pixel.

    Args:
        dataset: Of mmengine's kind.
    """
    digest = hashlib.sha256(str(dataset.metainfo.get("classes")).encode())
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        digest.update(f"{info.get('gt_label')} {info.get('img_path')} ".encode())
        if isinstance(info.get("img"), np.ndarray):
            digest.update(np.ascontiguousarray(info["img"]))
        elif info.get("img_path"):
            try:
                facts = os.stat(info["img_path"])
            except OSError:
                # Reading it will say what is wrong, with the remedy.
                continue
            digest.update(f"{facts.st_size} {facts.st_mtime_ns};".encode())
    return digest.hexdigest()


def key_of(facts: Mapping[str, Any]) -> str:
    """A digest of plain values, in which the order of a mapping's keys does not count."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def read_features(path: Path, *, rows: int) -> tuple[Tensor, Tensor] | None:
    """Read a file of the cache; None if there is none, or a damaged one, which is said.

    Args:
        path: The file.
        rows: Of the data set.

    Returns:
        Features and labels on the CPU.
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
            reason = "its contents are not what was written"
        else:
            return features, labels
    print_log(
        f"cached features {path} are damaged ({reason}): extracting them again",
        logger="current",
        level=logging.WARNING,
    )
    return None


def write_features(path: Path, features: Tensor, labels: Tensor, facts: Mapping[str, Any]) -> None:
    """Write a file of the cache, and beside it a JSON file that says what it is.

    The file takes its name when it is complete, so that a killed run leaves none that is half
    there, and of two runs that write at once each leaves a whole one. Where it cannot be written
    the run goes on without.

    Args:
        path: The file.
        features: (N, C).
        labels: (N,).
        facts: For the JSON file.
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
        # safetensors lets nobody else read its files; the cache may well be shared.
        parts[0].chmod(parts[1].stat().st_mode)
        os.replace(parts[1], path.with_suffix(".json"))
        os.replace(parts[0], path)
    except (OSError, SafetensorError) as error:
        print_log(
            f"features are not cached, {path} cannot be written ({str(error).splitlines()[0]}): "
            "give a folder with room with --cfg-options cache_dir=FOLDER, or cache_dir=None",
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


def _bytes(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
