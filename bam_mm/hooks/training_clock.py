"""Time that a training takes, without its evaluations."""

from __future__ import annotations

import time

import torch
from mmengine.hooks import Hook

from bam_mm.models.cost import peak_mb
from bam_mm.registry import HOOKS

SECONDS, EPOCH, MEMORY = "clock/seconds", "clock/epoch", "clock/peak_mb"
"""Scalars that the hook logs."""

_KEY = "training_clock_seconds"


@HOOKS.register_module()
class TrainingClockHook(Hook):
    """Log the seconds of training after each epoch, as ``clock/seconds`` with ``clock/epoch``.

    Beside them is the peak resident memory of the process in MiB (``clock/peak_mb``), of all that
    it has done since its start; not where the system has no /proc.

    Counted are the epochs of all starts of a run: reading, steps, and what other hooks do before
    an epoch, such as new boxes. Scores (kNN, validation) and checkpoints after an epoch are not
    counted, nor are epochs that a resumed run repeats.
    """

    priority = "VERY_HIGH"  # The first to see the beginning and the end of an epoch.

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = time.perf_counter()

    def before_train(self, runner) -> None:
        """Go on from the time that the checkpoint of a resumed run records."""
        self.seconds = float(runner.message_hub.get_info(_KEY, 0.0))

    def before_train_epoch(self, runner) -> None:
        """Start the clock."""
        self._start = _now()

    def after_train_epoch(self, runner) -> None:
        """Stop the clock and log the time."""
        self.seconds += _now() - self._start
        # Part of the checkpoint that is saved after this epoch.
        runner.message_hub.update_info(_KEY, self.seconds)
        # At the end of an epoch, mmengine has not yet counted it.
        values = {SECONDS: self.seconds, EPOCH: runner.epoch + 1}
        if (peak := peak_mb()) is not None:
            values[MEMORY] = peak
        runner.visualizer.add_scalars(values, step=runner.iter)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # Kernels may still run when their launch has returned.
    return time.perf_counter()
