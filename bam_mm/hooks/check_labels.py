"""Check of labels and head before the first iteration, and of class names before a test."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import Tensor

from bam_mm.data.checks.few_classes import fit_topk
from bam_mm.data.checks.labels import check_iterations, check_labels, check_same_classes
from bam_mm.data.class_matching import Alignment, align
from bam_mm.data.class_names import names_in_checkpoint, names_of, unwrap
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.registry import HOOKS

OPTION = "test_cfg.classes"


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Stop if the head and the data sets do not match, before a training and before a test.

    In a test, the outputs of the head are put in the order of the data's labels, by the names of
    the classes that the checkpoint records. ``test_cfg.classes`` of
    :class:`~bam_mm.protocols.classification_loop.ClassificationTestLoop` allows other data than
    that of the training.

    Args:
        meta: ``meta`` of the checkpoint that is tested, if it is not loaded by the runner.
        checkpoint: Path of this checkpoint, for messages.
    """

    priority = "HIGH"

    def __init__(
        self, meta: Mapping[str, Any] | None = None, checkpoint: str | None = None
    ) -> None:
        self.meta, self.checkpoint = meta, checkpoint
        self.alignment: Alignment | None = None
        self.handle: Any = None

    def before_train(self, runner) -> None:
        """Check the labels.

        Raises:
            InputError: If the labels do not match the head or the validation data (see
                :mod:`bam_mm.data.checks.labels`), or there are fewer images than in a batch.
        """
        model: Any = unwrap_model(runner.model)
        loader = runner.train_loop.dataloader
        train = loader.dataset
        check_iterations(loader)
        check_labels(train, model.head.num_classes, part="train")
        fit_topk([model.head], model.head.num_classes)
        if runner.val_loop is not None:
            val = runner.val_loop.dataloader.dataset
            check_same_classes(train, val)
            check_labels(val, model.head.num_classes, part="val")
            fit_topk(runner.val_loop.evaluator.metrics, model.head.num_classes)

    def after_load_checkpoint(self, runner, checkpoint: Mapping[str, Any]) -> None:
        """Keep the class names of a checkpoint."""
        self.meta = checkpoint.get("meta")
        self.checkpoint = str(getattr(runner, "_load_from", None) or "")

    def before_test(self, runner) -> None:
        """Put the outputs of the head in the order of the labels of the test data.

        Raises:
            InputError: If the classes do not match, see :func:`bam_mm.data.class_matching.align`,
                a label is out of range, or a metric would count absent classes as 0.
        """
        head: Any = getattr(unwrap_model(runner.model), "head", None)
        loop = runner.test_loop
        dataset = unwrap(loop.dataloader.dataset)
        if not hasattr(head, "num_classes") or not hasattr(dataset, "get_gt_labels"):
            return
        data = names_of(dataset, "test")
        known = names_in_checkpoint(self.meta, self.checkpoint or "(none)", head.num_classes)
        found = align(known, data, getattr(loop, "classes", None), option=OPTION)
        if found.note:
            level = logging.WARNING if found.warning else logging.INFO
            print_log(found.note, logger="current", level=level)
        check_labels(dataset, found.classes or head.num_classes, part="test")
        _check_averages(loop.evaluator.metrics, found)
        self.alignment = found
        if found.columns is not None:
            self.handle = head.register_forward_hook(_Columns(found.columns))
        outputs = len(found.columns) if found.columns else head.num_classes
        fit_topk(loop.evaluator.metrics, outputs)

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Add the numbers of classes to the metrics if the data has a part of them."""
        if metrics is not None and self.alignment is not None:
            metrics.update(self.alignment.counts())

    def after_test(self, runner) -> None:
        """Restore the order of the outputs."""
        if self.handle is not None:
            self.handle.remove()
        self.handle, self.alignment = None, None


def _check_averages(metrics: Iterable[Any], found: Alignment) -> None:
    """Check that no metric is a mean over classes that compete without an image of them."""
    absent = len(found.columns or ()) - (found.classes or 0) if found.partial else 0
    if absent > 0 and any(getattr(metric, "average", None) == "macro" for metric in metrics):
        raise InputError(
            f"{OPTION}=all: a mean over classes (average='macro') counts the {absent} classes "
            f"without an image as 0; set {OPTION}=subset, or evaluate with Accuracy only"
        )


class _Columns:
    """Forward hook that selects outputs of a head, also where it returns several."""

    def __init__(self, columns: tuple[int, ...]) -> None:
        self.columns = list(columns)

    def __call__(self, head: Any, inputs: Any, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return outputs[:, self.columns]
        return type(outputs)(self(head, inputs, part) for part in outputs)
