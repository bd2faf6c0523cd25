"""Entropies and spread of the features while training, and a stop where they collapse."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from torch import Tensor

from bam_mm.distributed import sum_over_processes
from bam_mm.errors import InputError
from bam_mm.models.bam import bam_of
from bam_mm.registry import HOOKS


class CollapsedError(InputError):
    """The features no longer tell images apart."""


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Log what a collapse shows in, and stop a collapsed run.

    Logged every ``interval`` iterations: ``attention_entropy`` and ``target_entropy`` (nats, mean
    over rows; paper Fig. 3) and ``feature_std``, the standard deviation of the L2-normalised
    projections over the batch, averaged over dimensions and multiplied by sqrt(D): 1 where they
    spread evenly over the sphere, 0 where all images get the same feature.

    Args:
        interval: Iterations between two looks (each costs one more pass over the attention).
        min_std: A run counts as collapsed below this ``feature_std``.
        patience: Looks in a row that must say so.
        warmup: Iterations at the start that are logged but not judged: fresh weights give similar
            features to all images.
        stop: Whether a collapsed run is stopped; False logs only.
    """

    priority = "BELOW_NORMAL"

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
                f"CollapseMonitorHook interval={interval}, patience={patience}: both are counts "
                "from 1 up; to let a collapsed run go on, set stop=False"
            )
        self.interval, self.min_std = interval, min_std
        self.patience, self.warmup, self.stop = patience, warmup, stop
        self.low = 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the count: it decides when the run is stopped."""
        checkpoint["collapse_monitor"] = {"low": self.low}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on counting where a resumed run was."""
        if runner._resume:
            self.low = checkpoint.get("collapse_monitor", {}).get("low", 0)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Ask the head for entropies where it is time."""
        bam_of(runner.model).head.monitor = runner.iter % self.interval == 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Log, and judge."""
        model = bam_of(runner.model)
        if not model.head.monitor:
            return
        looked = {**model.head.entropies, "feature_std": feature_std(model.last_projection)}
        # Read together: each reading waits until the device has computed all that is queued.
        numbers = torch.stack([value.double() for value in looked.values()]).tolist()
        for name, number in zip(looked, numbers, strict=True):
            runner.message_hub.update_scalar(f"train/{name}", number)
        spread = numbers[-1]
        if not math.isfinite(spread):
            raise CollapsedError(
                f"iteration {runner.iter + 1}: feature_std is {spread}: the features are no longer "
                "numbers; lower the learning rate, clip gradients, or train in bfloat16 instead of "
                "float16"
            )
        self.low = self.low + 1 if spread < self.min_std and runner.iter >= self.warmup else 0
        if self.stop and self.low >= self.patience:
            raise CollapsedError(
                f"iteration {runner.iter + 1}: the features have collapsed: feature_std is "
                f"{spread:.4f}, below {self.min_std} in {self.low} looks in a row, so all images "
                "get nearly the same feature. Keep balancing on (model.head.sinkhorn_iters=3) and "
                "the target sharper than the attention (target_temperature < temperature), or "
                "lower the learning rate; to go on regardless set stop=False in "
                "CollapseMonitorHook"
            )


def feature_std(features: Tensor) -> Tensor:
    """Spread of features over the rows of all processes.

    Args:
        features: (R, D), not normalised.

    Returns:
        Scalar, sqrt(D) times the mean over dimensions of the standard deviation of the
        L2-normalised rows.
    """
    x = F.normalize(features.detach().float(), dim=1).double()
    count = sum_over_processes(torch.tensor(float(len(x)), device=x.device))
    mean = sum_over_processes(x.sum(dim=0)) / count
    square = sum_over_processes(x.square().sum(dim=0)) / count
    std = (square - mean.square()).clamp_min(0).sqrt()
    return std.mean() * math.sqrt(x.shape[1])
