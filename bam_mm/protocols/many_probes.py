"""Choice among many linear probes: on validation images, never on the test images."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from torch import Tensor
from torch.amp import autocast
from torch.utils.data import DataLoader

from bam_mm.checkpoint import write_whole
from bam_mm.checkpoint.recorded_config import parse_assignments
from bam_mm.data.checks.shared_images import shared_images
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.check_labels import CheckLabelsHook
from bam_mm.models.many_probes import ManyLinearProbes, ProbeSetting
from bam_mm.protocols.classification_loop import ClassificationTestLoop
from bam_mm.protocols.tables import print_rows, write_rows
from bam_mm.registry import LOOPS, METRICS
from bam_mm.variables.entries import look_up

SPLIT = {
    "split": "train",
    "subset": None,
    "classes": None,
    "val_fraction": 0.1,
    "split_seed": 0,
}
"""Settings of ``bam_mm.ImageFolder`` that decide which images are held out, with their defaults."""

SOURCES = ("data_prefix", "ann_file")
"""Further settings by which data sets of one folder may differ."""

FOLDER = "probes"
"""Folder below the run's work folder for the tables."""


class ProbeAccuracies(BaseMetric):
    """Top-1 accuracy of every head in per cent, in the order of the heads."""

    default_prefix = "heads"

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep which heads are right about each image of a batch.

        Args:
            data_batch: Not used.
            data_samples: Predictions with ``probe_labels`` (S,) and ``gt_label``.
        """
        for sample in data_samples:
            hits = sample["probe_labels"] == sample["gt_label"]
            self.results.append(hits.cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Average over the images."""
        scores = 100 * torch.stack(results).double().mean(dim=0)
        return {str(number): score for number, score in enumerate(scores.tolist())}


@METRICS.register_module()
class ManyLinearProbesAccuracy(ProbeAccuracies):
    """Accuracy of the best head of ``bam_mm.ManyLinearProbes``, for the validation in a training.

    It is the accuracy on the images by which the head is chosen, so it is no test score.
    """

    default_prefix = "accuracy"

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Return the highest accuracy, ``accuracy/top1``."""
        return {"top1": max(super().compute_metrics(results).values())}


def choose_head(scores: Sequence[float]) -> int:
    """Return the number of the head with the highest validation score, the first of equal ones."""
    return max(range(len(scores)), key=lambda number: (scores[number], -number))


@LOOPS.register_module()
class ManyLinearProbesLoop(ClassificationTestLoop):
    """Test loop that chooses a head on validation images and scores it on the test images.

    All heads are also scored on the test images, for the table alone. The results are in
    ``WORK_DIR/probes``: both accuracies of every setting in ``settings.csv`` and ``settings.json``,
    the validation accuracy over the learning rate in ``curve.csv`` and ``curve.json`` (the best
    of the weight decays), and the chosen setting in ``chosen.json``.

    Args:
        runner: Runner of a :class:`~bam_mm.models.many_probes.ManyLinearProbes`.
        dataloader: Dataloader of the test images, or its config.
        evaluator: Evaluator or metrics for the chosen head.
        val: Config of the dataloader of the validation images, which are not among those that the
            heads were trained on.
        classes: How the classes of the test images are matched, see
            :class:`~bam_mm.protocols.classification_loop.ClassificationTestLoop`. The validation
            images have those of the training.
        fp16: Whether to test in mixed precision.

    Attributes:
        loaders: Dataloaders by name.

    Raises:
        InputError: If the model has no heads with settings, the validation images have other
            classes than the heads, or, in :meth:`run`, some of them are test images
            or images that the heads were trained on.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        val: dict,
        classes: str | None = None,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, classes=classes, fp16=fp16)
        model: Any = unwrap_model(runner.model)
        if not isinstance(model, ManyLinearProbes):
            raise InputError(
                f"test_cfg.type={type(self).__name__}: {type(model).__name__} has no heads to "
                "choose from; set model.type=bam_mm.ManyLinearProbes, or another test_cfg"
            )
        self.model = model
        self.loaders = {"test": self.dataloader, "val": runner.build_dataloader(val)}
        names = getattr(self.loaders["val"].dataset, "CLASSES", None)
        if names and len(names) != model.head.num_classes:
            raise InputError(
                f"test_cfg.val: the validation images have {len(names)} classes, the heads "
                f"{model.head.num_classes}: they must be held out from the training images"
            )
        self.table = ProbeAccuracies()
        self.val_data: Mapping[str, Any] = val.get("dataset") or {}

    def run(self) -> dict[str, float]:
        """Choose the head, and score it.

        Returns:
            The metrics of the evaluator for the chosen head, ``probes/val_top1`` by which it was
            chosen, and its setting: ``probes/feature`` (the number in the model's ``features``,
            from 1), ``probes/learning_rate`` and ``probes/weight_decay``, and whether the learning
            rate is at an end of the list, ``probes/learning_rate_at_end``.
        """
        model = self.model
        self._check_held_out()
        self.runner.model.eval()
        # Before the hooks, which may select classes for the test images.
        val = self._validate()
        number = choose_head(val)
        model.chosen = number
        try:
            self.runner.call_hook("before_test")
            self.runner.call_hook("before_test_epoch")
            for place, batch in enumerate(self.dataloader):
                self.run_iter(place, batch)
            size = len(self.dataloader.dataset)
            metrics = self.evaluator.evaluate(size)
            test = list(self.table.evaluate(size).values())
            metrics.update(self._facts(number, val))
            if is_main_process():
                self._report(number, val, test)
            self.runner.call_hook("after_test_epoch", metrics=metrics)
            self.runner.call_hook("after_test")
        finally:
            model.chosen = None
        return metrics

    def _check_held_out(self) -> None:
        """Check that no validation image is one of the test or of the training.

        The images of the training are known by the split in the config of the checkpoint.
        """
        if shared := shared_images(*(self.loaders[name].dataset for name in ("val", "test"))):
            raise InputError(
                f"test_cfg.val: {len(shared)} of the validation images are test images, the first: "
                f"{shared[0]}; choose the setting on images held out from the training"
            )
        metas = [hook.meta for hook in self.runner.hooks if isinstance(hook, CheckLabelsHook)]
        text = next((meta["cfg"] for meta in metas if meta and meta.get("cfg")), "")
        recorded, _ = parse_assignments(text)
        trained, there = look_up(recorded, "train_dataloader.dataset")
        part = self.val_data.get("part")
        if part not in (None, "val"):
            raise InputError(
                f"test_cfg.val.dataset.part={part!r}: the heads are trained on these images; set "
                "'val' for those that are held out"
            )
        if not there:
            print_log(
                "the config of the training is not recorded in the checkpoint, so it is not known "
                "whether the heads were trained on the validation images (test_cfg.val.dataset): "
                "make sure that they were not",
                logger="current",
                level=logging.WARNING,
            )
        elif part is None:
            self._check_own(trained)
        else:
            self._check_split(trained)

    def _check_own(self, trained: Mapping[str, Any]) -> None:
        """Check that validation images of your own are not those of the training's folder."""
        same = all(trained.get(key) == self.val_data.get(key) for key in SOURCES)
        # A data set in a wrapper has no folder of its own in the config.
        known = any(trained.get(key) for key in ("data_root", *SOURCES))
        if known and same and _folder(trained) == _folder(self.val_data):
            raise InputError(
                f"test_cfg.val.dataset.part=None: the heads were trained on images of the same "
                f"folder, {_folder(trained)}: set part=val, or put your own validation images into "
                "another one"
            )

    def _check_split(self, trained: Mapping[str, Any]) -> None:
        """Check that the held-out images are those of the training."""
        settings = {"part": ("val", trained.get("part"), "train")}
        for key, usual in SPLIT.items():
            now = self.val_data.get(key, usual)
            settings[key] = (now, trained.get(key, usual), now)
        for key, (now, before, wanted) in settings.items():
            if _plain(before) != _plain(wanted):
                raise InputError(
                    f"test_cfg.val.dataset.{key}={now!r}, but the heads were trained with "
                    f"train_dataloader.dataset.{key}={before!r}, so on some of these images: set "
                    "the values of the training"
                )

    @torch.no_grad()
    def _validate(self) -> list[float]:
        loader, metric = self.loaders["val"], ProbeAccuracies()
        for batch in loader:
            with autocast(self._device(), enabled=self.fp16):
                outputs = self.runner.model.test_step(batch)
            metric.process(batch, [sample.to_dict() for sample in outputs])
        return list(metric.evaluate(len(loader.dataset)).values())

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Predict a batch of test images, and keep what all heads predict.

        Args:
            idx: Number of the batch.
            data_batch: Batch of the dataloader.
        """
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        with autocast(self._device(), enabled=self.fp16):
            outputs = self.runner.model.test_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.table.process(data_batch, [sample.to_dict() for sample in outputs])
        self.runner.call_hook(
            "after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs
        )

    def _device(self) -> str:
        return next(self.model.parameters()).device.type

    def _facts(self, number: int, val: Sequence[float]) -> dict[str, float]:
        chosen = self.model.settings[number]
        rates = sorted({setting.learning_rate for setting in self.model.settings})
        at_end = len(rates) > 1 and chosen.learning_rate in (rates[0], rates[-1])
        if at_end:
            print_log(
                f"the chosen learning rate {chosen.learning_rate:g} is at an end of "
                "model.learning_rates: try a wider range",
                logger="current",
                level=logging.WARNING,
            )
        return {
            f"{FOLDER}/val_top1": val[number],
            f"{FOLDER}/feature": float(1 + self.model.features.index(chosen.feature)),
            f"{FOLDER}/learning_rate": chosen.learning_rate,
            f"{FOLDER}/weight_decay": chosen.weight_decay,
            f"{FOLDER}/learning_rate_at_end": float(at_end),
        }

    def _report(self, number: int, val: Sequence[float], test: Sequence[float]) -> None:
        settings, folder = self.model.settings, Path(self.runner.work_dir) / FOLDER
        rows = [
            {**setting.facts(), "val_top1": of_val, "test_top1": of_test}
            for setting, of_val, of_test in zip(settings, val, test, strict=True)
        ]
        write_rows(folder / "settings.csv", rows)
        write_rows(folder / "curve.csv", curve(settings, val))
        chosen = json.dumps(settings[number].facts() | {"val_top1": val[number]}, indent=2)
        write_whole(folder / "chosen.json", f"{chosen}\n".encode())
        shown: dict[str, float | str] = {
            "setting": str(settings[number]),
            "validation": val[number],
            "test": test[number],
        }
        print_rows(
            f"linear probe, the best of {len(settings)} settings, top-1 accuracy (%)", [shown]
        )


def _folder(config: Mapping[str, Any]) -> str:
    """Return the folder of a split, with all links resolved."""
    root = os.path.expanduser(config.get("data_root") or ".")
    return os.path.realpath(os.path.join(root, config.get("split", SPLIT["split"]) or "."))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def curve(settings: Sequence[ProbeSetting], scores: Sequence[float]) -> list[dict[str, Any]]:
    """Return the accuracy over the learning rate of each feature.

    Args:
        settings: Setting of each head.
        scores: Validation accuracy of each head.

    Returns:
        ``feature``, ``learning_rate`` and ``val_top1``, the highest of the weight decays, in
        ascending order of the learning rate within a feature.
    """
    best: dict[tuple[str, float], float] = {}
    for setting, score in zip(settings, scores, strict=True):
        key = str(setting.feature), setting.learning_rate
        best[key] = max(score, best.get(key, score))
    features = list(dict.fromkeys(feature for feature, _ in best))
    ordered = sorted(best, key=lambda key: (features.index(key[0]), key[1]))
    return [
        {"feature": feature, "learning_rate": rate, "val_top1": best[feature, rate]}
        for feature, rate in ordered
    ]
