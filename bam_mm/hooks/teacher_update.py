"""Update of the teacher after every iteration."""

from __future__ import annotations

from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.models.siamese import siamese_of
from bam_mm.models.teacher import momentum_at
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherUpdateHook(ModelHook):
    """Move the teacher towards the student, with a momentum that depends on the iteration.

    The hook serves every algorithm of this package that has a teacher, such as BAM, DINO and ReLIC.
    It has no state of its own, so a resumed run continues with the right momentum.

    Args:
        momentum: Momentum at the first iteration (released code: .995).
        end_momentum: Momentum at the end of the training.

    Raises:
        InputError: If the momentum decreases or leaves [0, 1].
    """

    priority = "NORMAL"

    def __init__(self, momentum: float = 0.995, end_momentum: float = 1.0) -> None:
        if not 0 <= momentum <= end_momentum <= 1:
            raise InputError(
                f"TeacherUpdateHook momentum={momentum}, end_momentum={end_momentum}: the momentum "
                "must not decrease or leave [0, 1]; the default is .995 to 1"
            )
        self.momentum, self.end_momentum = momentum, end_momentum

    def before_train(self, runner) -> None:
        """Check that the model has a teacher.

        Raises:
            InputError: If it has none, or is no algorithm of this package.
        """
        if siamese_of(runner.model).teacher is None:
            raise InputError(
                "TeacherUpdateHook needs a teacher, but model.use_teacher=False: remove the hook "
                "from custom_hooks, or set model.use_teacher=True"
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Update the teacher once, and log the momentum."""
        momentum = momentum_at(runner.iter, runner.max_iters, self.momentum, self.end_momentum)
        siamese_of(runner.model).update_teacher(momentum)
        runner.message_hub.update_scalar("train/teacher_momentum", momentum)
