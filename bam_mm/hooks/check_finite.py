"""Check that losses, weights and metrics are finite, which stops a run that has diverged."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.logging import print_log
from torch import Tensor

from bam_mm.distributed import gather_objects, true_on_all, unwrap_model, world_size
from bam_mm.errors import InputError, listing
from bam_mm.hooks.finiteness import (
    REMEDY,
    NotFiniteError,
    check_metrics,
    not_finite,
    weights_fault,
)
from bam_mm.registry import HOOKS


@dataclass(frozen=True)
class _Step:
    """Losses of an iteration that are not read from the device yet."""

    number: int
    rate: float
    losses: dict[str, Tensor | float]


@HOOKS.register_module()
class CheckFiniteHook(Hook):
    """Stop a run at the first loss that is not finite, before a checkpoint is saved after it.

    mmengine trains on with ``loss: nan`` to the end. This hook stops every process with one
    message, which names the first iteration whose loss was not finite, its learning rate and its
    terms. It also stops before a checkpoint would hold weights that are not finite, and after a
    validation or a test one of whose metrics is not finite.

    On a CPU, the loss is checked in every iteration. On a GPU, reading a loss waits until all
    queued work is finished, so the losses are stored and checked together: every ``interval``
    iterations, at the end of an epoch, and before a checkpoint or a validation. Several processes
    decide together at these points, too. If mmengine's own ``RuntimeInfoHook`` reads every loss
    anyway, a single process checks every iteration on a GPU as well.

    A loss scaler (mixed precision with float16) skips the step if a gradient is not finite, and
    then tries a smaller scale. A loss that is not finite therefore does no harm, unless it stays
    so: ``tolerated`` of them in a row are only logged.

    A model with a method ``remedy_if_not_finite()`` that returns a text knows better what to do.

    Args:
        interval: Number of iterations of an epoch between two checks on a GPU, or of several
            processes.
        tolerated: Number of iterations in a row whose loss need not be finite while a loss scaler
            is in use. Without a scaler, the first one stops the run.

    Raises:
        InputError: If ``interval`` is less than 1 or ``tolerated`` is negative.
    """

    # After RuntimeInfoHook (VERY_HIGH), before all hooks that save, evaluate or draw.
    priority = "HIGH"

    def __init__(self, interval: int = 50, tolerated: int = 5) -> None:
        if interval < 1 or tolerated < 0:
            raise InputError(
                f"CheckFiniteHook interval={interval}, tolerated={tolerated}: interval must be at "
                "least 1, and tolerated at least 0"
            )
        self.interval, self.tolerated = interval, tolerated
        self.steps: list[_Step] = []
        self.in_a_row = 0
        self.checked: int | None = None
        self.read_anyway = False

    def before_train(self, runner) -> None:
        """Look up whether another hook waits for every loss."""
        self.read_anyway = any(type(hook) is RuntimeInfoHook for hook in runner.hooks)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Store the losses, and check all stored ones if a check is due.

        Raises:
            NotFiniteError: If a loss is not finite.
        """
        losses = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in (outputs or {}).items()
            if "loss" in name
        }
        self.steps.append(_Step(runner.iter + 1, learning_rate(runner.optim_wrapper), losses))
        if (
            self._read_at_once(losses)
            or self.every_n_inner_iters(batch_idx, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or runner.iter + 1 == runner.max_iters
        ):
            self.check_losses(runner)

    def before_val(self, runner) -> None:
        """Check the stored losses before a model is evaluated.

        Raises:
            NotFiniteError: If a loss is not finite.
        """
        self.check_losses(runner)

    def before_checkpoint(self, runner) -> None:
        """Check losses and weights on every process (called by ``WholeCheckpointHook``).

        Raises:
            NotFiniteError: If a loss or a weight is not finite.
        """
        self.check_losses(runner)
        stop_together(weights_fault(runner.model, runner.iter + 1))
        self.checked = runner.iter

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check losses and weights on the process that writes, if another hook saves.

        Raises:
            NotFiniteError: If a loss or a weight is not finite.
        """
        if self.checked != runner.iter:
            fault = self.losses_fault(runner) or weights_fault(runner.model, runner.iter + 1)
            if fault:
                raise NotFiniteError(fault)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Check the metrics of a validation.

        Raises:
            NotFiniteError: If one of them is not finite.
        """
        check_metrics("validation", metrics, runner.val_dataloader.dataset)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Check the metrics of a test.

        Raises:
            NotFiniteError: If one of them is not finite.
        """
        check_metrics("test", metrics, runner.test_dataloader.dataset)

    def check_losses(self, runner) -> None:
        """Check the stored losses of all processes.

        Raises:
            NotFiniteError: If one of them is not finite, and not tolerated.
        """
        stop_together(self.losses_fault(runner))

    def losses_fault(self, runner) -> str | None:
        """Read the stored losses of this process.

        Returns:
            The message about the first one that is not finite, and not tolerated; or None.
        """
        steps, self.steps = self.steps, []
        scaled = uses_scaler(runner.optim_wrapper)
        for step, names in zip(steps, not_finite([step.losses for step in steps]), strict=True):
            self.in_a_row = self.in_a_row + 1 if names else 0
            if not names:
                continue
            if not scaled or self.in_a_row > self.tolerated:
                return self._message(step, names, scaled, runner.model)
            print_log(
                f"iteration {step.number}: {_values(step, names)}: the loss scaler skips this step",
                logger="current",
                level=logging.WARNING,
            )
        return None

    def _read_at_once(self, losses: Mapping[str, Tensor | float]) -> bool:
        waits = any(isinstance(v, Tensor) and v.device.type != "cpu" for v in losses.values())
        return world_size() == 1 and (self.read_anyway or not waits)

    def _message(self, step: _Step, names: list[str], scaled: bool, model: Any) -> str:
        where = f"iteration {step.number}, learning rate {step.rate:g}: {_values(step, names)}"
        if scaled:
            return (
                f"{where} (in {self.in_a_row} iterations in a row, {self.tolerated} are "
                "tolerated): train in bfloat16 (optim_wrapper.dtype=bfloat16), lower the learning "
                "rate, or set default_hooks.check_finite.tolerated"
            )
        if step.number == 1:
            return (
                f"{where}: the loss is not finite before the first update, so check the images, "
                "their labels and the pretrained weights; in float16, train in bfloat16 "
                "(optim_wrapper.dtype=bfloat16)"
            )
        if own := getattr(unwrap_model(model), "remedy_if_not_finite", lambda: None)():
            return f"{where}: {own}"
        return f"{where}: {REMEDY}; --resume continues from the newest checkpoint"


def stop_together(fault: str | None) -> None:
    """Raise an error on every process if one of them has a fault.

    Args:
        fault: Message about the fault of this process, None if it has none.

    Raises:
        NotFiniteError: With the message of the first process that has a fault.
    """
    if not true_on_all(fault is None):
        raise NotFiniteError(next(text for text in gather_objects(fault or "") if text))


def uses_scaler(wrapper: Any) -> bool:
    """Return whether an optimizer wrapper scales the loss, and skips steps that overflow.

    Args:
        wrapper: Optimizer wrapper of mmengine, or a dict of several.
    """
    scalers = [getattr(part, "loss_scaler", None) for part in _wrappers(wrapper)]
    return any(scaler is not None and scaler.is_enabled() for scaler in scalers)


def learning_rate(wrapper: Any) -> float:
    """Return the largest learning rate of all parameter groups."""
    groups = [
        group
        for part in _wrappers(wrapper)
        for group in getattr(getattr(part, "optimizer", None), "param_groups", ())
    ]
    # A tensor (of a compiled optimizer) stays on its device.
    rates = [group["lr"] for group in groups if isinstance(group.get("lr"), (int, float))]
    return max(rates, default=math.nan)


@contextmanager
def divergence_explained(runner) -> Iterator[None]:
    """Raise the error about the losses if the model fails because they are no longer finite.

    Between a loss that is not finite and the check that finds it, code of the model may fail for
    values that it does not expect. It need not fail on every process, so the one that fails
    reports the error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if fault := _hidden_fault(runner):
            raise InputError(fault) from error
        raise


def _hidden_fault(runner) -> str | None:
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckFiniteHook)]
    try:
        return next((fault for hook in hooks if (fault := hook.losses_fault(runner))), None)
    except RuntimeError:  # The device itself has failed, so nothing can be read.
        return None


def _values(step: _Step, names: list[str]) -> str:
    return listing((f"{name} is {_number(step.losses[name])}" for name in names), 4)


def _number(value: Tensor | float) -> float:
    return float(value.double().mean()) if isinstance(value, Tensor) else value


def _wrappers(wrapper: Any) -> list[Any]:
    # An OptimWrapperDict holds several.
    return list(getattr(wrapper, "optim_wrappers", {}).values()) or [wrapper]
