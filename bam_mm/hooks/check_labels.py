"""Labels and head, compared before the first iteration."""

from __future__ import annotations

from mmengine.hooks import Hook

from bam_mm.data.checks.labels import check_labels, check_same_classes
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Stop before training where head, training and validation data do not belong together."""

    priority = "HIGH"

    def before_train(self, runner) -> None:
        """Check.

        Raises:
            InputError: As the functions of :mod:`bam_mm.data.checks.labels`, or if the data is
                smaller than a batch.
        """
        model = unwrap_model(runner.model)
        loader = runner.train_loop.dataloader
        train = loader.dataset
        if not len(loader):
            raise InputError(
                f"an epoch has no iteration: {len(train)} training images are fewer than a batch "
                f"of {loader.batch_size} on every process, and incomplete batches are dropped; set "
                "--cfg-options train_dataloader.batch_size=N smaller"
            )
        check_labels(train, model.head.num_classes, part="train")
        if runner.val_loop is not None:
            val = runner.val_loop.dataloader.dataset
            check_same_classes(train, val)
            check_labels(val, model.head.num_classes, part="val")
