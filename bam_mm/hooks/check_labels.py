"""Check of labels and head before the first iteration."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from bam_mm.data.checks.labels import check_iterations, check_labels, check_same_classes
from bam_mm.distributed import unwrap_model
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Stop before training if the head, the training data and the validation data do not match."""

    priority = "HIGH"

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
        if runner.val_loop is not None:
            val = runner.val_loop.dataloader.dataset
            check_same_classes(train, val)
            check_labels(val, model.head.num_classes, part="val")
