"""Monitor of entropies and feature spread, which stops a run whose features collapse."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from bam_mm.distributed import sum_over_processes
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.models.siamese import siamese_of
from bam_mm.registry import HOOKS


class CollapsedError(InputError):
    """The features of all images have become nearly the same."""


@HOOKS.register_module()
class CollapseMonitorHook(ModelHook):
    """Log indicators of collapse, and stop a collapsed run.

    After every ``interval`` iterations of an epoch, the hook logs ``attention_entropy`` and
    ``target_entropy`` (in nats, mean over rows; paper, Fig. 3) and ``feature_std``. The latter is
    the standard deviation of the L2-normalised projections over the batch, averaged over dimensions
    and multiplied by sqrt(D): 1 if they spread evenly over the sphere, 0 if all images have the
    same feature.

    mmengine's ``LoggerHook`` counts in the same way, so with the same interval, or a multiple of
    it, a logged value is that of the iteration that it is logged for.

    Args:
        interval: Number of iterations between two checks. An epoch that is shorter is checked at
            its end. Each check costs one more pass over the attention.
        min_std: Value of ``feature_std`` below which the features count as collapsed.
        patience: Number of checks in a row that must find collapsed features.
        warmup: Number of iterations at the start that are logged but never count as collapsed:
            untrained weights produce similar features for all images.
        stop: Whether to stop a collapsed run; False only logs.

    Raises:
        InputError: If ``interval`` or ``patience`` is less than 1.
    """

    # Before LoggerHook (BELOW_NORMAL, 60), so that the log has the values of the same iteration.
    priority = 55

    def __init__(
        self,
        interval: int = 50,
        min_std: float = 0.06,
        patience: int = 3,
        warmup: int = 100,
        stop: bool = True,
    ) -> None:
        if interval < 1 or patience < 1:
            raise InputError(
                f"CollapseMonitorHook interval={interval}, patience={patience}: both must be at "
                "least 1; set stop=False to continue a collapsed run"
            )
        self.interval, self.min_std = interval, min_std
        self.patience, self.warmup, self.stop = patience, warmup, stop
        self.low = 0
        self.every = interval

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the number of low checks in a row, which decides when the run is stopped."""
        checkpoint["collapse_monitor"] = {"low": self.low}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the number of low checks in a row, if the run is resumed."""
        if runner._resume:
            self.low = checkpoint.get("collapse_monitor", {}).get("low", 0)

    def before_train(self, runner) -> None:
        """Look up whether an epoch is shorter than the interval."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.every = min(self.interval, len(runner.train_dataloader))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Request entropies from the head, if a check is due."""
        siamese_of(runner.model).head.monitor = self.every_n_inner_iters(batch_idx, self.every)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Log the indicators, and stop the run if it has collapsed.

        Raises:
            CollapsedError: If the features are not finite or have collapsed.
        """
        model = siamese_of(runner.model)
        if not model.head.monitor:
            return
        assert model.last_projection is not None  # Set in BAM.loss.
        values = {**model.head.entropies, "feature_std": feature_std(model.last_projection)}
        # Read all at once: each read waits until the device has finished all queued work.
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        for name, number in zip(values, numbers, strict=True):
            runner.message_hub.update_scalar(f"train/{name}", number)
        spread = numbers[-1]
        if not math.isfinite(spread):
            raise CollapsedError(
                f"iteration {runner.iter + 1}: feature_std is {spread}: the features are no longer "
                "finite; lower the learning rate, clip gradients, or train in bfloat16 instead of "
                "float16"
            )
        self.low = self.low + 1 if spread < self.min_std and runner.iter >= self.warmup else 0
        if self.stop and self.low >= self.patience:
            raise CollapsedError(
                f"iteration {runner.iter + 1}: the features have collapsed: feature_std is "
                f"{spread:.4f}, below {self.min_std} in {self.low} checks in a row, so all images "
                "get nearly the same feature. Keep balancing on (model.head.sinkhorn_iters=3) and "
                "the target sharper than the attention (target_temperature < temperature), or "
                "lower the learning rate; to continue anyway, set stop=False in "
                "CollapseMonitorHook"
            )


def feature_std(features: Tensor) -> Tensor:
    """Compute the spread of features over the rows of all processes.

    Args:
        features: (R, D) features before normalisation.

    Returns:
        Scalar: the standard deviation of the L2-normalised rows, averaged over dimensions and
        multiplied by sqrt(D).
    """
    x = F.normalize(features.detach().float(), dim=1).double()
    count = sum_over_processes(torch.tensor(float(len(x)), device=x.device))
    mean = sum_over_processes(x.sum(dim=0)) / count
    square = sum_over_processes(x.square().sum(dim=0)) / count
    std = (square - mean.square()).clamp_min(0).sqrt()
    return std.mean() * math.sqrt(x.shape[1])
