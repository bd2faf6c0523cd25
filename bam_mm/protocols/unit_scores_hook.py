"""Hook that keeps the scores of each image of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from bam_mm.distributed import gather_objects
from bam_mm.evaluation import UnitScores
from bam_mm.protocols.unit_scores import (
    IMAGES,
    UNITS,
    UnitTable,
    classification_scores,
    ranked_classes,
    unit_names,
    write_units,
)


class UnitScoresHook(Hook):
    """Write the scores of each test image to ``WORK_DIR/units.npz``.

    They are those that mmpretrain's ``Accuracy`` and macro recall, or mmseg's mIoU, average over.
    Other metrics, and predictions of other kinds, write nothing. The feature protocols and
    :class:`~bam_mm.protocols.davis_metric.DAVISMetric` write such files themselves.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.parts: list[Any] = []

    def before_test(self, runner) -> None:
        """Delete the file of an earlier test."""
        self.paths, self.parts = [], []
        if is_main_process():
            (Path(runner.work_dir) / UNITS).unlink(missing_ok=True)

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Keep what the metrics need of a batch."""
        samples = list(outputs or ())
        if not all(map(_is_classified, samples)):
            areas = _areas(runner)[len(self.parts) :]
            if len(areas) != len(samples):
                return
            self.parts += areas
        elif samples:
            scores = torch.stack([sample.pred_score for sample in samples])
            ranked = ranked_classes(runner.test_loop.evaluator.metrics, scores)
            labels = torch.stack([sample.gt_label.reshape(()) for sample in samples]).tolist()
            self.parts += zip(ranked, labels, len(samples) * [scores.shape[1]], strict=True)
        for sample in samples:
            path = sample.get("img_path")
            self.paths.append(path or f"{sample.get('sample_idx', len(self.paths)):08d}")

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Collect the images of all processes and write the file."""
        every = gather_objects((self.paths, self.parts))
        self.paths, self.parts = [], []
        size = len(runner.test_loop.dataloader.dataset)
        if not is_main_process() or sum(len(paths) for paths, _ in every) < size:
            return
        # As mmengine's metrics do: image i is on process i modulo the number of processes, and
        # images that the sampler repeats come last.
        spread = [divmod(i, len(every)) for i in range(size)]
        paths = [every[process][0][place] for place, process in spread]
        parts = [every[process][1][place] for place, process in spread]
        if len(parts[0]) == 3:
            ranked, labels, counts = zip(*parts, strict=True)
            found = classification_scores(
                runner.test_loop.evaluator.metrics,
                torch.stack(ranked),
                torch.tensor(labels),
                num_classes=counts[0],
            )
        else:
            found = _segmentation_scores(parts, _prefix(runner))
        table = UnitTable(IMAGES, unit_names(paths), found)
        if found:
            write_units(Path(runner.work_dir) / UNITS, table)


def _is_classified(sample: Any) -> bool:
    """Whether a prediction is one class of an image that has one label."""
    return (
        "pred_score" in sample
        and "gt_label" in sample
        and sample.pred_score.ndim == 1
        and sample.gt_label.numel() == 1
    )


def _iou_metric(runner) -> Any:
    for metric in runner.test_loop.evaluator.metrics:
        # mmseg's, which takes seconds to import, or a class made from it.
        if any(kind.__name__ == "IoUMetric" for kind in type(metric).__mro__):
            return metric
    return None


def _areas(runner) -> list[Any]:
    """Intersection, union, prediction and truth of each image so far, in pixels by class."""
    metric = _iou_metric(runner)
    return [] if metric is None or "mIoU" not in metric.metrics else metric.results


def _prefix(runner) -> str:
    prefix = _iou_metric(runner).prefix
    return f"{prefix}/" if prefix else ""


def _segmentation_scores(areas: Sequence[Any], prefix: str) -> dict[str, UnitScores]:
    overlap, union, _, truth = (
        np.stack(part).astype(np.uint32) for part in zip(*areas, strict=True)
    )
    return {
        f"{prefix}mIoU": UnitScores(overlap, union, 100),
        f"{prefix}mAcc": UnitScores(overlap, truth, 100),
        f"{prefix}aAcc": UnitScores(overlap.sum(axis=1), truth.sum(axis=1), 100),
    }
