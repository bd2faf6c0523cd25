"""Check that losses, weights and metrics are finite, which stops a run that has diverged."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.distributed import gather_objects, own_part, true_on_all, unwrap_model, world_size
from bam_mm.errors import InputError, SharedError, listing
from bam_mm.registry import HOOKS

RUNNING = ("running_mean", "running_var")
"""Last names of the buffers that training changes. Other buffers may hold infinities on purpose."""

CLASSWISE = "_precision"
"""End of the names of classes' precisions in mmdet's metrics, as in ``coco/cat_precision``."""

_LOWER = (
    "lower the learning rate (optim_wrapper.optimizer.lr), or clip gradients "
    "(optim_wrapper.clip_grad.max_norm=1.0)"
)


class NotFiniteError(SharedError):
    """A loss, a weight or a metric is NaN or infinite."""


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
                return self._message(step, names, scaled)
            print_log(
                f"iteration {step.number}: {_values(step, names)}: the loss scaler skips this step",
                logger="current",
                level=logging.WARNING,
            )
        return None

    def _read_at_once(self, losses: Mapping[str, Tensor | float]) -> bool:
        waits = any(isinstance(v, Tensor) and v.device.type != "cpu" for v in losses.values())
        return world_size() == 1 and (self.read_anyway or not waits)

    def _message(self, step: _Step, names: list[str], scaled: bool) -> str:
        where = f"iteration {step.number}, learning rate {step.rate:g}: {_values(step, names)}"
        if scaled:
            return (
                f"{where} (in {self.in_a_row} iterations in a row, {self.tolerated} are "
                "tolerated): train in bfloat16 (optim_wrapper.dtype=bfloat16), lower the learning "
                "rate, or set default_hooks.finite.tolerated"
            )
        if step.number == 1:
            return (
                f"{where}: the loss is not finite before the first update, so check the images, "
                "their labels and the pretrained weights; in float16, train in bfloat16 "
                "(optim_wrapper.dtype=bfloat16)"
            )
        return f"{where}: {_LOWER}; --resume continues from the newest checkpoint"


def stop_together(fault: str | None) -> None:
    """Raise an error on every process if one of them has a fault.

    Args:
        fault: Message about the fault of this process, None if it has none.

    Raises:
        NotFiniteError: With the message of the first process that has a fault.
    """
    if not true_on_all(fault is None):
        raise NotFiniteError(next(text for text in gather_objects(fault or "") if text))


def not_finite(steps: list[dict[str, Tensor | float]]) -> list[list[str]]:
    """Find the losses that are not finite, with one read of the device.

    Args:
        steps: Losses of each iteration by name; tensors hold one number or several.

    Returns:
        The names of those that are not finite, for each iteration.
    """
    tensors = [v for losses in steps for v in losses.values() if isinstance(v, Tensor)]
    read = iter(_all_finite(tensors))
    return [
        [
            name
            for name, value in losses.items()
            if not (next(read) if isinstance(value, Tensor) else math.isfinite(value))
        ]
        for losses in steps
    ]


def weights_fault(model: nn.Module, iteration: int) -> str | None:
    """Check the parameters and running statistics of a model, with one read of the device.

    Args:
        model: The model; of sharded tensors, the parts on this process are checked.
        iteration: Number of iterations so far, for the message.

    Returns:
        The message if one of them is not finite, else None.
    """
    inner = unwrap_model(model)
    tensors = {
        **dict(inner.named_parameters()),
        **{n: b for n, b in inner.named_buffers() if n.rpartition(".")[2] in RUNNING},
    }
    finite = _all_finite([own_part(tensor.detach()) for tensor in tensors.values()])
    bad = [name for name, fine in zip(tensors, finite, strict=True) if not fine]
    if not bad:
        return None
    return (
        f"iteration {iteration}: {len(bad)} of the model's {len(tensors)} tensors are not finite "
        f"({listing(bad, 3)}), so no checkpoint is saved: {_LOWER}, and continue from the newest "
        "checkpoint with --resume"
    )


def check_metrics(what: str, metrics: Mapping[str, Any] | None, dataset: Any) -> None:
    """Check that the metrics of an evaluation are finite.

    COCO's -1, for sizes of which there is no instance, is finite. The precision of a class without
    an object is NaN (``classwise=True`` of mmdet's metrics): this is logged, if other classes have
    one.

    Args:
        what: Name of the evaluation, for the message.
        metrics: Metrics by name; values that are no single numbers are passed over.
        dataset: Data set of the evaluation, for the message.

    Raises:
        NotFiniteError: If one of them is not finite.
    """
    bad = [name for name, value in (metrics or {}).items() if _is_not_finite(value)]
    if not bad:
        return
    data = dataset_of(dataset)
    absent = _classes_without_objects(metrics or {}, bad)
    if absent:
        verb, which = ("is", "this class") if len(absent) == 1 else ("are", "these classes")
        print_log(
            f"{what}: {listing(absent)} {verb} NaN, because {_place(data)} has no object of "
            f"{which}",
            logger="current",
            level=logging.WARNING,
        )
    bad = [name for name in bad if name not in absent]
    if not bad:
        return
    maps = (getattr(data, "data_prefix", None) or {}).get("seg_map_path")
    classes = (getattr(data, "metainfo", None) or {}).get("classes") or ()
    shown = f"{what}: {listing(bad)} {'is' if len(bad) == 1 else 'are'} not finite"
    if maps and classes:
        first = int(bool(getattr(data, "reduce_zero_label", False)))
        raise NotFiniteError(
            f"{shown}: no pixel of the {len(data):,} maps in {maps} belongs to one of the "
            f"{len(classes)} classes (values {first} to {first + len(classes) - 1}; others are "
            "ignored). Correct the maps, or set the classes and reduce_zero_label of the data set"
        )
    raise NotFiniteError(
        f"{shown}, computed from {len(data):,} items of {_place(data)}: check that their labels "
        "belong to the classes of the config, and that the weights are finite"
    )


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


def dataset_of(dataset: Any) -> Any:
    """Return the data set inside wrappers such as mmengine's ``RepeatDataset``."""
    while not getattr(dataset, "data_prefix", None) and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset


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


def _all_finite(tensors: list[Tensor]) -> list[bool]:
    if not tensors:
        return []
    device = tensors[0].device
    flags = [tensor.isfinite().all().to(device, non_blocking=True) for tensor in tensors]
    return torch.stack(flags).tolist()


def _values(step: _Step, names: list[str]) -> str:
    return listing((f"{name} is {_number(step.losses[name])}" for name in names), 4)


def _number(value: Tensor | float) -> float:
    return float(value.double().mean()) if isinstance(value, Tensor) else value


def _is_not_finite(value: Any) -> bool:
    try:
        return not math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):  # No single number, such as a confusion matrix.
        return False


def _classes_without_objects(metrics: Mapping[str, Any], bad: list[str]) -> list[str]:
    """Return the classes' precisions that are NaN, if another one of the same metric is finite."""
    groups: dict[str, list[str]] = {}
    for name in metrics:
        if name.endswith(CLASSWISE):
            groups.setdefault(name.partition("/")[0], []).append(name)
    return [
        name
        for names in groups.values()
        if not all(name in bad for name in names)
        for name in names
        if name in bad and math.isnan(metrics[name])
    ]


def _wrappers(wrapper: Any) -> list[Any]:
    # An OptimWrapperDict holds several.
    return list(getattr(wrapper, "optim_wrappers", {}).values()) or [wrapper]


def _place(dataset: Any) -> str:
    places = (getattr(dataset, name, None) for name in ("ann_file", "img_prefix", "data_root"))
    return next((str(place) for place in places if place), type(dataset).__name__)
