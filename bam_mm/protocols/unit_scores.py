"""Scores of each test image (or video), from which intervals and comparisons are computed."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from torch import Tensor

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.evaluation import UnitScores

UNITS = "units.npz"
"""Name of the file, in a run's work folder or in the folder of a protocol below it."""

IMAGES, VIDEOS = "images", "videos"

DAMAGES = (
    OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, InputError,
)  # fmt: skip
"""What reading a damaged file raises."""


@dataclass(frozen=True)
class UnitTable:
    """Scores of the units of a test set.

    Attributes:
        kind: What a unit is, :data:`IMAGES` or :data:`VIDEOS`.
        names: (N,) different names, the paths of the files below their common folder.
        scores: Scores by the key of the metric whose value they add up to.
    """

    kind: str
    names: tuple[str, ...]
    scores: Mapping[str, UnitScores]


def write_units(path: Path, table: UnitTable) -> None:
    """Write a table; its folder is created if needed.

    Args:
        path: File to write.
        table: Scores of the units.
    """
    names = "\0".join(table.names).encode(errors="surrogateescape")
    about = {"kind": table.kind, "scores": [[key, s.scale] for key, s in table.scores.items()]}
    arrays: dict[str, Any] = {"about": _bytes(json.dumps(about).encode()), "names": _bytes(names)}
    for number, score in enumerate(table.scores.values()):
        arrays[f"numerators{number}"] = score.numerators
        if score.denominators is not None:
            arrays[f"denominators{number}"] = score.denominators
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_whole(path, file.getvalue())


def read_units(path: Path) -> UnitTable:
    """Read a table.

    Args:
        path: File that :func:`write_units` has written.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            names = arrays["names"].tobytes().decode(errors="surrogateescape").split("\0")
            scores = {}
            for number, (key, scale) in enumerate(about["scores"]):
                below = f"denominators{number}"
                scores[key] = UnitScores(
                    arrays[f"numerators{number}"],
                    arrays.get(below),
                    scale,
                )
                if len(scores[key]) != len(names):
                    raise InputError(f"{len(names)} names for {len(scores[key])} scores")
            return UnitTable(about["kind"], tuple(names), scores)
    except DAMAGES as error:
        raise InputError(
            f"{path} is damaged ({error}): delete it; the run has to be repeated to compare it"
        ) from error


def unit_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Shorten paths by their common folder, so that they are the same on every machine.

    Args:
        paths: Path of each image.

    Returns:
        Different names. A path that occurs again has ``#2``, ``#3``, ... at its end.
    """
    folders = [path.split("/")[:-1] for path in paths]
    first, last = min(folders), max(folders)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    depth = min(len(first), len(last)) if shared is None else shared
    names, seen = [], Counter[str]()
    for path in paths:
        name = "/".join(path.split("/")[depth:])
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(names)


def names_of_images(dataset: BaseDataset, indices: Iterable[int]) -> tuple[str, ...]:
    """Return the names of images of a data set.

    Args:
        dataset: Data set of mmengine.
        indices: Indices of the images.

    Returns:
        Names from :func:`unit_names`; the number of an image that has no file.
    """
    chosen = list(indices)
    paths = [dataset.get_data_info(index).get("img_path") for index in chosen]
    return unit_names([p or f"{i:08d}" for i, p in zip(chosen, paths, strict=True)])


def ranked_classes(metrics: Iterable[Any], scores: Tensor) -> Tensor:
    """Return the classes with the highest scores, as many as the metrics look at.

    Args:
        metrics: Metrics of the evaluator.
        scores: (N, C) predicted scores.

    Returns:
        (N, K) classes on the CPU, the best one first; -1 for scores of 0 and below, which
        ``Accuracy`` does not count.
    """
    # As many as the metric takes, because the order of equal scores depends on it.
    most = max([1, *(k for m in metrics if isinstance(m, Accuracy) for k in m.topk)])
    best = scores.float().topk(min(most, scores.shape[1]))
    return torch.where(best.values > 0, best.indices, -1).cpu()


def classification_scores(
    metrics: Iterable[Any], ranked: Tensor, labels: Tensor, *, num_classes: int
) -> dict[str, UnitScores]:
    """Split mmpretrain's accuracies into the scores of the images.

    Args:
        metrics: Metrics of the evaluator. Those other than ``Accuracy`` with the usual threshold
            0, and the macro average recall of ``SingleLabelMetric``, are left out.
        ranked: (N, K) classes from :func:`ranked_classes`.
        labels: (N,) true classes.
        num_classes: Number of classes.

    Returns:
        Scores by metric, such as ``accuracy/top1``, in per cent.
    """
    hits = ranked == labels.cpu()[:, None]
    found = {}
    for metric in metrics:
        if isinstance(metric, Accuracy) and metric.thrs == (0.0,):
            for k in metric.topk:
                right = hits[:, :k].any(dim=1).numpy()
                found[f"{metric.prefix}/top{k}"] = UnitScores(right, scale=100)
        elif isinstance(metric, SingleLabelMetric) and metric.average == "macro":
            scores = class_mean_scores(hits[:, 0], labels, num_classes=num_classes)
            found[f"{metric.prefix}/recall"] = scores
    return found


def class_mean_scores(hits: Tensor, labels: Tensor, *, num_classes: int) -> UnitScores:
    """Split the mean per-class accuracy into the scores of the images, in per cent.

    Args:
        hits: (N,) bool, whether each image is classified correctly.
        labels: (N,) true classes.
        num_classes: Number of classes.
    """
    known = torch.nn.functional.one_hot(labels.cpu().long(), num_classes).bool()
    return UnitScores((known & hits.cpu()[:, None]).numpy(), known.numpy(), 100)


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
