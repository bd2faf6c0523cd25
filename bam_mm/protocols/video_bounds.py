"""Bounds of a video score: random weights from below, the annotation from above."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, as_tensor

from bam_mm.data.video import Video
from bam_mm.errors import InputError
from bam_mm.evaluation import davis_j_and_f, davis_summary, read_out
from bam_mm.evaluation.soft_labels import VOID
from bam_mm.models.building import log_only_warnings
from bam_mm.models.label_propagation import LabelPropagation, input_size
from bam_mm.registry import DATASETS, MODELS
from bam_mm.variables.entries import kind_of

TRUTH, NAMED, RANDOM = "truth at patches", "named objects", "random weights"


def compare_features(
    config: Config, checkpoint: str | Path, *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Score a checkpoint and its bounds with the same setting.

    ``truth at patches`` is the annotation itself, averaged over each patch and read out: the best
    score that one label per patch can reach. ``named objects`` are features that consist of each
    object's share of the patch, propagated like any others: the best score that propagation can
    reach. ``random weights`` are the features of the checkpoint's backbone before training.

    Args:
        config: Config of label propagation; the first of several settings is used.
        checkpoint: Checkpoint to score, same as for ``bam-mm test``.
        seed: Seed of the random weights.

    Returns:
        Result of :func:`~bam_mm.evaluation.davis_summary` (0 to 1) and the number of ``objects``,
        by row of the table.

    Raises:
        InputError: If the config is of another task, the videos have no annotations to score with,
            or the checkpoint does not fit.
    """
    if kind_of(config.get("model") or {}) != "LabelPropagation":
        raise InputError(
            f"{config.filename} follows no objects: use a config of configs/vos, such as "
            "vos/vit-base-p16_label-propagation_davis2017"
        )
    init_default_scope(config.default_scope)
    log_only_warnings()
    videos = DATASETS.build(config.test_dataloader.dataset).videos
    if not all(len(video.annotated) == len(video) for video in videos):
        raise InputError(
            "the bounds need the annotation of every frame: leave "
            "test_dataloader.dataset.annotated at 'all'"
        )
    trained, untrained = _build(config, seed), _build(config, seed)
    trained.load_pretrained(checkpoint)
    rows: dict[str, Callable[[Video, np.ndarray], np.ndarray]] = {
        TRUTH: lambda video, truth: _truth_at_patches(trained, video, truth),
        NAMED: lambda video, truth: _first_setting(
            trained.carry(video, _object_shares(trained, video, truth))
        ),
        str(checkpoint): lambda video, truth: _first_setting(_predict(trained, video)),
        RANDOM: lambda video, truth: _first_setting(_predict(untrained, video)),
    }
    objects: dict[str, list[dict]] = {row: [] for row in rows}
    for video in track(videos, description="videos"):
        truth = video.truth()
        for row, predict in rows.items():
            objects[row] += davis_j_and_f(truth, predict(video, truth))
    return {row: {**davis_summary(o), "objects": len(o)} for row, o in objects.items()}


def print_comparison(scores: dict[str, dict[str, float]], console: Console | None = None) -> None:
    """Print a table with one row per kind of features, with scores in per cent."""
    count = next(iter(scores.values()))["objects"]
    table = Table("features", "J&F", "J_mean", "F_mean", title=f"{count} objects (%)")
    for row, summary in scores.items():
        table.add_row(row, *(f"{100 * summary[k]:.1f}" for k in ("J&F", "J_mean", "F_mean")))
    (console or Console()).print(table)


def _build(config: Config, seed: int) -> LabelPropagation:
    set_random_seed(seed)
    model = MODELS.build(config.model).eval()
    model.backbone.init_weights()
    return model


def _predict(model: LabelPropagation, video: Video) -> dict[tuple[int, int], np.ndarray]:
    result = model.predict(video)
    if result["fault"] is not None:
        raise InputError(result["fault"])
    return result["predictions"]


def _first_setting(predictions: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    return next(iter(predictions.values()))


def _object_shares(model: LabelPropagation, video: Video, truth: np.ndarray) -> Iterator[Tensor]:
    """Yield the share of each object in every patch, (C, h, w) for each frame."""
    grid = tuple(next(model.features(video)).shape[1:])
    ids = as_tensor(truth.astype(np.int64)).masked_fill_(as_tensor(truth == VOID), 0)
    count = int(ids.max()) + 1
    for frame in ids:
        shares = F.one_hot(frame, count).permute(2, 0, 1)[None].float()
        yield F.interpolate(shares, size=grid, mode="area")[0]


def _truth_at_patches(model: LabelPropagation, video: Video, truth: np.ndarray) -> np.ndarray:
    height = input_size(video.size, model.short_side, model.divisor)[0]
    masks = [truth[0]]
    for shares in list(_object_shares(model, video, truth))[1:]:
        ids = read_out(shares, patch_size=height // shares.shape[1], size=video.size)
        masks.append(ids.numpy())
    return np.stack(masks)
