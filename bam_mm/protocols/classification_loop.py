"""Test loop of classifiers, for data that has not all classes of the training."""

from __future__ import annotations

from mmengine.runner import TestLoop

from bam_mm.data.class_matching import READINGS
from bam_mm.errors import InputError
from bam_mm.registry import LOOPS


@LOOPS.register_module()
class ClassificationTestLoop(TestLoop):
    """mmengine's ``TestLoop`` with the choice of classes.

    :class:`~bam_mm.hooks.check_labels.CheckLabelsHook`, which ``bam-mm test`` adds, matches the
    classes.

    Args:
        runner: Runner of a classifier of mmpretrain.
        dataloader: Dataloader of the test images, or its config.
        evaluator: Evaluator or metrics.
        classes: How the classes of the data are matched with the outputs of the head, see
            :func:`bam_mm.data.class_matching.align`: None (by name, and all classes must be there),
            ``subset``, ``all``, ``index`` or ``order``.
        fp16: Whether to test in mixed precision.

    Raises:
        InputError: If ``classes`` is anything else.
    """

    def __init__(
        self, runner, dataloader, evaluator, classes: str | None = None, fp16: bool = False
    ) -> None:
        if classes not in (None, *READINGS):
            raise InputError(
                f"test_cfg.classes={classes!r}: choose one of {', '.join(READINGS)}, or None"
            )
        super().__init__(runner, dataloader, evaluator, fp16=fp16)
        self.classes = classes
