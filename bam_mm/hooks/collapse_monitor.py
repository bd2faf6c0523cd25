"""Monitor of entropies and feature spread, which stops a run whose features collapse."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn

from bam_mm.data.checks.labels import batch_size_of
from bam_mm.distributed import sum_over_processes, unwrap_model, world_size
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.hooks.projections import ProjectionTap, check_projector
from bam_mm.hooks.reference_watch import ReferenceWatch
from bam_mm.registry import HOOKS


class CollapsedError(InputError):
    """The features of all images have become nearly the same."""


@HOOKS.register_module()
class CollapseMonitorHook(ModelHook):
    """Log indicators of collapse, stop a collapsed run, and warn about an unusual one.

    After every ``interval`` iterations of an epoch, the hook logs ``feature_std`` and, if the head
    measures them as BAM's does, ``attention_entropy`` and ``target_entropy`` (in nats, mean over
    rows; paper, Fig. 3). ``feature_std`` is the standard deviation of the L2-normalised projections
    over the batch, averaged over dimensions and multiplied by sqrt(D): 1 if they spread evenly over
    the sphere, 0 if all images have the same feature.

    The hook works for every self-supervised model with a projector. The projections are those in
    ``model.last_projection`` if the model has this attribute, as this package's algorithms do.
    Otherwise they are the outputs of ``model.neck``, the first tensor of a list, as in mmpretrain's
    SimCLR, BYOL, SimSiam, SwAV, Barlow Twins, MoCo and MoCo v3. A head has entropies if it has the
    attributes ``monitor`` and ``entropies``, see :class:`~bam_mm.models.head.BAMHead`. The necks of
    MAE, BEiT and other masked image modelling are decoders of patches, whose outputs cannot
    collapse in this sense: the first check of such a model stops the run.

    mmengine's ``LoggerHook`` counts in the same way, so with the same interval, or a multiple of
    it, a logged value is that of the iteration that it is logged for.

    Args:
        interval: Number of iterations between two checks. An epoch that is shorter is checked at
            its end. With BAM, each check costs one more pass over the attention.
        min_std: Value of ``feature_std`` below which the features count as collapsed.
        patience: Number of checks in a row that must find collapsed features, or values outside of
            the reference's band.
        warmup: Number of iterations at the start that are logged but never count as collapsed or as
            outside: untrained weights produce similar features for all images.
        stop: Whether to stop a collapsed run; False only logs.
        against: Name or ``.json`` file of reference curves, see
            :func:`~bam_mm.hooks.reference_curves.read_reference`. A warning is logged, once for
            each quantity, when it leaves their band; this never stops the run. Entropies are left
            out if the batch differs. None compares nothing.
        margin: Width that is added on both sides of the reference's band, as a fraction of its mean
            value. The default of 25 % is a rule of thumb: the band holds the means over intervals
            of a few seeds, so that single iterations, other seeds, GPUs and versions lie outside
            of it by several per cent.

    Raises:
        InputError: If ``interval`` or ``patience`` is less than 1, ``margin`` is negative, or the
            reference curves cannot be read.
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
        against: str | None = None,
        margin: float = 0.25,
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
        self.due = False
        self.iterations: int | None = None
        self.tap = ProjectionTap()
        # An option such as against=2017 arrives as a number.
        self.watch = None if against is None else ReferenceWatch(str(against), margin, patience)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the numbers of checks in a row, which decide when to stop or to warn."""
        state: dict[str, Any] = {"low": self.low}
        if self.watch is not None:
            state["against"] = self.watch.state_dict()
        checkpoint["collapse_monitor"] = state

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the numbers of checks in a row, if the run is resumed."""
        if runner._resume:
            state = checkpoint.get("collapse_monitor", {})
            self.low = state.get("low", 0)
            if self.watch is not None:
                self.watch.load_state_dict(state.get("against", {}))

    def before_train(self, runner) -> None:
        """Look up the length of an epoch, and check that the run can be monitored.

        Raises:
            InputError: If the model has no projector, or a training that is compared with a
                reference counts iterations instead of epochs.
        """
        check_projector(runner.model)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.iterations = len(runner.train_dataloader)
            self.every = min(self.interval, self.iterations)
        if self.watch is None:
            return
        if self.iterations is None:
            raise InputError(
                f"CollapseMonitorHook against={self.watch.name!r}: reference curves go by epochs, "
                "but this training counts iterations; set against=None, or "
                "train_cfg.type='EpochBasedTrainLoop'"
            )
        batch = batch_size_of(runner.train_dataloader) * world_size()
        if (line := self.watch.leave_out_entropies(batch)) is not None:
            runner.logger.info(line)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Request entropies and projections, if a check is due."""
        self.due = self.every_n_inner_iters(batch_idx, self.every)
        head = _monitored_head(runner.model)
        if head is not None:
            head.monitor = self.due
        if self.due:
            self.tap.open(runner.model)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Log the indicators, and stop the run if it has collapsed.

        Raises:
            CollapsedError: If the features are not finite or have collapsed.
            InputError: If the model computes no projection of each image.
        """
        if not self.due:
            return
        head = _monitored_head(runner.model)
        values = {} if head is None else dict(head.entropies)
        values["feature_std"] = feature_std(self.tap.read(runner.model))
        # Read all at once: each read waits until the device has finished all queued work.
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        found = dict(zip(values, numbers, strict=True))
        for name, number in found.items():
            runner.message_hub.update_scalar(f"train/{name}", number)
        self._stop_if_collapsed(runner, found["feature_std"])
        if self.watch is not None and self.iterations and runner.iter >= self.warmup:
            for warning in self.watch.check(found, (runner.iter + 1) / self.iterations):
                runner.logger.warning(f"iteration {runner.iter + 1}: {warning}")

    def _stop_if_collapsed(self, runner, spread: float) -> None:
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
                f"get nearly the same feature. {_remedy(runner.model)}, or "
                "lower the learning rate; to continue anyway, set stop=False in "
                "CollapseMonitorHook"
            )


def _monitored_head(model: nn.Module) -> Any:
    """Return the head of a possibly wrapped model if it can measure entropies, else None."""
    head: Any = getattr(unwrap_model(model), "head", None)
    return head if hasattr(head, "monitor") and hasattr(head, "entropies") else None


def _remedy(model: nn.Module) -> str:
    head = getattr(unwrap_model(model), "head", None)
    if hasattr(getattr(head, "settings", None), "sinkhorn_iters"):
        return (
            "Keep balancing on (model.head.sinkhorn_iters=3) and the target sharper than the "
            "attention (target_temperature < temperature)"
        )
    return (
        "Keep the settings of the method that prevent it (temperatures, momentum, predictor, "
        "centring or negatives)"
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
