"""What depends on the epoch in DINO: the teacher's temperature and the first epochs' prototypes."""

from __future__ import annotations

from typing import Any

from mmengine.runner import EpochBasedTrainLoop

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.methods.dino import DINO
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class DINOScheduleHook(ModelHook):
    """Tell DINO's head the epoch, and keep the prototypes fixed in the first epochs.

    As in the authors' code, the prototypes' gradient is dropped after gradient clipping and just
    before the optimizer's step, so neither momentum nor weight decay moves them.

    Args:
        freeze_last_layer: Number of epochs at the start in which the prototypes are fixed.

    Raises:
        InputError: If ``freeze_last_layer`` is negative.
    """

    priority = "NORMAL"

    def __init__(self, freeze_last_layer: int = 1) -> None:
        if freeze_last_layer < 0:
            raise InputError(
                f"DINOScheduleHook freeze_last_layer={freeze_last_layer}: must not be negative"
            )
        self.freeze_last_layer = freeze_last_layer
        self.epoch = 0

    def before_train(self, runner) -> None:
        """Watch the steps of the optimizer.

        Raises:
            InputError: If the model is another algorithm than DINO, or the training counts
                iterations instead of epochs.
        """
        model = self._model(runner)
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise InputError(
                "DINOScheduleHook goes by epochs, but this training counts iterations: set "
                "train_cfg.type='EpochBasedTrainLoop' and train_cfg.max_epochs"
            )
        prototypes = list(model.neck.last_layer.parameters())

        def drop(*_: Any) -> None:
            if self.epoch < self.freeze_last_layer:
                for parameter in prototypes:
                    parameter.grad = None

        runner.optim_wrapper.optimizer.register_step_pre_hook(drop)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Set the epoch."""
        self.epoch = self._model(runner).head.epoch = runner.epoch

    def _model(self, runner) -> DINO:
        model = unwrap_model(runner.model)
        if not isinstance(model, DINO):
            raise InputError(
                f"DINOScheduleHook needs model=dict(type='bam_mm.DINO'), not "
                f"{type(model).__name__}: remove the hook from custom_hooks"
            )
        return model
