"""Test loop for logistic regression, the transfer protocol."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader

from bam_mm.errors import InputError
from bam_mm.evaluation import (
    PENALTIES,
    PenaltySweep,
    UnitScores,
    balanced_subset,
    logistic_regression_sweep,
)
from bam_mm.protocols.feature_loop import FeatureLoop
from bam_mm.protocols.plots import plot_penalties
from bam_mm.protocols.tables import print_rows, write_json, write_rows
from bam_mm.protocols.unit_scores import class_mean_scores
from bam_mm.registry import LOOPS

METRICS = {"top1": "top-1 accuracy", "mean_per_class": "mean per-class accuracy"}


@LOOPS.register_module()
class LogisticRegressionLoop(FeatureLoop):
    """L2-regularised logistic regression on frozen features, fitted with L-BFGS.

    The penalty is chosen on the validation images. A classifier fitted with it on the training and
    validation images is then scored once on the test images. All processes extract the features
    together and every process computes the same fits, so the metrics do not depend on the number of
    processes. The results are written to ``WORK_DIR/logreg``: ``penalties.csv``,
    ``penalties.json``, ``penalties.png``, ``result.json``, and the scores of the test images in
    ``units.npz``.

    Args:
        runner: Runner of a :class:`~bam_mm.models.frozen_features.FrozenFeatures` or a
            :class:`~bam_mm.models.bam.BAM` model.
        dataloader: Dataloader of the test images, or its config.
        evaluator: Not used, but required by mmengine; pass ``[]``.
        train: Config of the training images' dataloader.
        val: Config of the validation images' dataloader. If None, a part of the training images is
            held out for validation.
        val_fraction: Fraction of each class of the training images to hold out if ``val`` is None.
        split_seed: Seed that selects the held-out images.
        metric: The metric that is usual for the data set, ``top1`` or ``mean_per_class``.
        penalties: L2 penalties to try, above 0; None uses the protocol's 45.
        scaling: Scaling of the features: ``none`` (the protocol's), ``standard`` or ``l2``, see
            :func:`~bam_mm.evaluation.logistic_regression_sweep`.
        tolerance: Tolerance at which the solver stops, see
            :func:`~bam_mm.evaluation.fit_logistic_regression`.
        max_iter: Maximum number of solver iterations for each penalty.
        branch: Branch of a BAM model to evaluate, ``teacher`` or ``student``.
        cache_dir: Folder of the feature cache; None disables the cache.
        precision: Precision in which the backbone computes, see
            :class:`~bam_mm.protocols.feature_loop.FeatureLoop`.
        classes: Classes that are compared if the test images have not all of them, see
            :class:`~bam_mm.protocols.feature_loop.FeatureLoop`.

    Raises:
        InputError: If an option is wrong, a class has no image, or the classes of the data sets
            differ.
    """

    name = "logreg"

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        train: dict,
        val: dict | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        metric: str = "top1",
        penalties: Sequence[float] | None = None,
        scaling: str = "none",
        tolerance: float = 1e-5,
        max_iter: int = 1000,
        branch: str = "teacher",
        cache_dir: str | None = None,
        precision: str | None = None,
        classes: str | None = None,
    ) -> None:
        if metric not in METRICS:
            raise InputError(f"test_cfg.metric={metric!r}: choose one of {', '.join(METRICS)}")
        if not 0 < val_fraction < 1:
            raise InputError(
                f"test_cfg.val_fraction={val_fraction}: the fraction of the training images "
                "that is held out must be above 0 and below 1; 0.1 is usual"
            )
        loaders = {"train": train} if val is None else {"train": train, "val": val}
        super().__init__(
            runner,
            dataloader,
            evaluator,
            loaders=loaders,
            cache_dir=cache_dir,
            branch=branch,
            precision=precision,
            classes=classes,
        )
        self.val_fraction, self.split_seed, self.metric = val_fraction, split_seed, metric
        self.settings: dict[str, Any] = dict(
            metric=metric,
            penalties=PENALTIES if penalties is None else list(penalties),
            scaling=scaling,
            tolerance=tolerance,
            max_iter=max_iter,
        )

    def score(self) -> dict[str, float]:
        """Extract the features, fit every penalty and score the best one on the test images."""
        train, val = self._train_and_val()
        test = self.features("test")
        self.check_every_class("train", train[1])
        quiet = not (is_main_process() and sys.stdout.isatty())
        with Progress(disable=quiet, transient=True) as progress:
            task = progress.add_task("logistic regression", total=len(self.settings["penalties"]))
            sweep = logistic_regression_sweep(
                train,
                val,
                test,
                num_classes=self.num_classes,
                on_fit=lambda model, score: progress.advance(task),
                **self.settings,
            )
        for warning in sweep.warnings():
            print_log(f"logistic regression: {warning}", logger="current", level=logging.WARNING)
        self.write_units({f"logreg/{self.metric}": self._units(sweep, test[1])})
        if is_main_process():
            self._report(sweep, {"train": train, "val": val, "test": test})
        return {
            f"logreg/{self.metric}": 100 * sweep.test_score,
            f"logreg/val_{self.metric}": 100 * sweep.val_score,
            "logreg/penalty": sweep.penalty,
            "logreg/penalty_at_end": float(sweep.at_end),
            **self.matched.counts,
        }

    def _train_and_val(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        train = self.features("train")
        if "val" in self.loaders:
            return train, self.features("val")
        features, labels = train
        self.check_every_class("train", labels)
        held_out = balanced_subset(labels.cpu(), self.val_fraction, seed=self.split_seed)
        held_out = held_out.to(labels.device)
        kept = labels.new_ones(len(labels)).bool()
        kept[held_out] = False
        few = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
        if few:
            raise InputError(
                f"logreg: class {self.matched.names[few[0]]} has a single training "
                "image, which is held out for validation: add images, or set test_cfg.val to a "
                "dataloader of validation images"
            )
        return (features[kept], labels[kept]), (features[held_out], labels[held_out])

    def _units(self, sweep: PenaltySweep, labels: Tensor) -> UnitScores:
        hits = (sweep.predictions == labels).cpu()
        if self.metric == "top1":
            return UnitScores(hits.numpy(), scale=100)
        return class_mean_scores(hits, labels, num_classes=self.num_classes)

    def _report(self, sweep: PenaltySweep, tables: dict[str, tuple[Tensor, Tensor]]) -> None:
        columns = (sweep.penalties, sweep.val_scores, sweep.iterations, sweep.converged)
        rows = [
            {
                "penalty": penalty,
                f"val_{self.metric}": 100 * score,
                "iterations": iterations,
                "converged": converged,
            }
            for penalty, score, iterations, converged in zip(*columns, strict=True)
        ]
        result: dict[str, Any] = {
            "metric": self.metric,
            "test": 100 * sweep.test_score,
            "val": 100 * sweep.val_score,
            "penalty": sweep.penalty,
            "images": {name: len(labels) for name, (_, labels) in tables.items()},
            "classes": self.num_classes,
            "width": tables["test"][0].shape[1],
            "validation": "its own" if "val" in self.loaders else f"seed {self.split_seed}",
            "scaling": self.settings["scaling"],
            "warnings": sweep.warnings(),
        }
        write_rows(self.out_dir / "penalties.csv", rows)
        write_json(self.out_dir / "result.json", result)
        plot_penalties(
            sweep.penalties,
            sweep.val_scores,
            sweep.penalty,
            METRICS[self.metric],
            self.out_dir / "penalties.png",
        )
        images = result["images"]
        print_rows(
            f"logistic regression, {METRICS[self.metric]} (%), fitted on "
            f"{images['train']} + {images['val']} images",
            [
                {
                    "penalty": f"{sweep.penalty:.3g}",
                    "validation": result["val"],
                    "test": result["test"],
                    "test images": images["test"],
                }
            ],
        )
