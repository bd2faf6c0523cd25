"""The teacher's update after every iteration."""

from __future__ import annotations

from mmengine.hooks import Hook

from bam_mm.errors import InputError
from bam_mm.models.bam import bam_of
from bam_mm.models.teacher import momentum_at
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherUpdateHook(Hook):
    """Move the teacher towards the student, with a momentum that follows from the iteration.

    Nothing is counted here, so a resumed run goes on with the momentum it would have had.

    Args:
        momentum: At the first iteration (released code: .995).
        end_momentum: At the last.
    """

    priority = "NORMAL"

    def __init__(self, momentum: float = 0.995, end_momentum: float = 1.0) -> None:
        if not 0 <= momentum <= end_momentum <= 1:
            raise InputError(
                f"teacher momentum from {momentum} to {end_momentum}: it must rise within [0, 1], "
                "as .995 to 1 does"
            )
        self.momentum, self.end_momentum = momentum, end_momentum

    def before_train(self, runner) -> None:
        """Check the model before the first iteration."""
        if bam_of(runner.model).teacher is None:
            raise InputError(
                "TeacherUpdateHook without a teacher (model.use_teacher=False): remove the hook "
                "from custom_hooks, or give the model its teacher"
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Update once, and log the momentum."""
        momentum = momentum_at(runner.iter, runner.max_iters, self.momentum, self.end_momentum)
        bam_of(runner.model).update_teacher(momentum)
        runner.message_hub.update_scalar("train/teacher_momentum", momentum)
