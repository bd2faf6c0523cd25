"""Check of detection and segmentation data before a training or a test, in any library's tools."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from bam_mm.data.checks.dense_labels import check_dense_data, check_same_maps
from bam_mm.distributed import unwrap_model
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class CheckDenseDataHook(Hook):
    """Stop if heads, classes, maps or images of a data set of mmdet or mmseg do not fit.

    The tools of this package check the same before they build the optimizer, and the hook then
    checks nothing twice.
    """

    priority = "HIGH"

    def before_train(self, runner) -> None:
        """Check the training data, and those of the validation.

        Raises:
            InputError: Same as in :func:`~bam_mm.data.checks.dense_labels.check_dense_data`.
        """
        self._check(runner, train=runner.train_loop, val=runner.val_loop)

    def before_test(self, runner) -> None:
        """Check the test data.

        Raises:
            InputError: Same as in :func:`~bam_mm.data.checks.dense_labels.check_dense_data`.
        """
        self._check(runner, test=runner.test_loop)

    def _check(self, runner, **loops: Any) -> None:
        data = {part: loop.dataloader.dataset for part, loop in loops.items() if loop is not None}
        check_same_maps(data)
        for part, dataset in data.items():
            check_dense_data(unwrap_model(runner.model), dataset, part)
