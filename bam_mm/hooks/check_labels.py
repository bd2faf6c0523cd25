"""Check of labels and head before the first iteration, and of class names before a test."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log
from mmpretrain.models import HuggingFaceClassifier, TimmClassifier
from torch import Tensor, nn

from bam_mm.data.checks.few_classes import fit_topk
from bam_mm.data.checks.labels import check_iterations, check_labels, check_same_classes
from bam_mm.data.class_matching import Alignment, align
from bam_mm.data.class_names import names_in_checkpoint, names_of, unwrap
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.registry import HOOKS

OPTION = "test_cfg.classes"


@HOOKS.register_module()
class CheckLabelsHook(ModelHook):
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
        if (found := classifying_part(model)) is None:
            return
        part, outputs = found
        check_labels(train, outputs, part="train")
        fit_topk([part], outputs)
        if runner.val_loop is not None:
            val = runner.val_loop.dataloader.dataset
            check_same_classes(train, val)
            check_labels(val, outputs, part="val")
            fit_topk(runner.val_loop.evaluator.metrics, outputs)

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
        part = classifying_part(unwrap_model(runner.model))
        loop = runner.test_loop
        dataset = unwrap(loop.dataloader.dataset)
        if part is None or not hasattr(dataset, "get_gt_labels"):
            return
        head, count = part
        data = names_of(dataset, "test")
        known = names_in_checkpoint(self.meta, self.checkpoint or "(none)", count)
        found = align(known, data, getattr(loop, "classes", None), option=OPTION)
        if found.note:
            level = logging.WARNING if found.warning else logging.INFO
            print_log(found.note, logger="current", level=level)
        check_labels(dataset, found.classes or count, part="test")
        _check_averages(loop.evaluator.metrics, found)
        self.alignment = found
        if found.columns is not None:
            self.handle = head.register_forward_hook(_Columns(found.columns))
        fit_topk(loop.evaluator.metrics, len(found.columns) if found.columns else count)

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Add the numbers of classes to the metrics if the data has a part of them."""
        if metrics is not None and self.alignment is not None:
            metrics.update(self.alignment.counts())

    def after_test(self, runner) -> None:
        """Restore the order of the outputs."""
        if self.handle is not None:
            self.handle.remove()
        self.handle, self.alignment = None, None


def classifying_part(model: Any) -> tuple[nn.Module, int] | None:
    """Return the part of a model that classifies, and the number of its outputs.

    Args:
        model: Model, without the wrapper of a distributed run.

    Returns:
        The head; the whole network of mmpretrain's ``TimmClassifier`` and
        ``HuggingFaceClassifier``, which have no head; or None if the model classifies nothing.
    """
    head: Any = getattr(model, "head", None)
    if hasattr(head, "num_classes"):
        return head, head.num_classes
    if not isinstance(model, TimmClassifier | HuggingFaceClassifier):
        return None
    network: Any = model.model
    settings = getattr(network, "config", None)
    count = getattr(network, "num_classes", None) or getattr(settings, "num_labels", None)
    return (network, count) if count else None


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
        if hasattr(outputs, "logits"):  # of the library transformers
            outputs.logits = outputs.logits[:, self.columns]
            return outputs
        return type(outputs)(self(head, inputs, part) for part in outputs)
