"""The learning rate of a run whose batch size is not the one that its config is meant for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner

from bam_mm.errors import InputError

OPTION = "--auto-scale-lr"

ABSOLUTE = ("eta_min", "eta_max", "min_value")
"""Settings of schedulers that are learning rates. All others are relative to the optimizer's."""


def set_up_learning_rate(runner: Runner) -> None:
    """Scale the learning rates of a runner if its config asks for it, and report them at its start.

    The batch size is the number of images between two updates: images of one process times
    processes times accumulated steps. If ``auto_scale_lr.enable`` is True, the learning rate of the
    optimizer *and* those in the schedules (:data:`ABSOLUTE`) are multiplied by the batch size
    divided by ``auto_scale_lr.base_batch_size``. The schedule therefore keeps its shape. mmengine
    alone scales only the optimizer's, so that a schedule may end above its peak. The config in the
    work folder and in checkpoints is not changed.

    At the start of the training, a warning is logged if the learning rate is not scaled although
    the batch size is another one, if a schedule rises after its warm-up, or if a resumed checkpoint
    brings other learning rates than the config.

    Args:
        runner: Runner of mmengine that has not built its optimizer yet.

    Raises:
        InputError: If the learning rate is to be scaled, but it or a batch size is not known.
    """
    settings = runner.cfg.get("auto_scale_lr") or {}
    factor = _scale_factor(runner)
    if settings.get("enable", False):
        if factor is None:
            raise InputError(
                f"{OPTION}: the config has no auto_scale_lr.base_batch_size or no "
                "train_dataloader.batch_size; set both"
            )
        _disable_own_scaling(runner)
        if factor != 1:
            _scale(runner, factor)
        factor = 1
    runner.register_hook(_LearningRateHook(factor))


def _scale_factor(runner: Runner) -> float | None:
    """Return the batch size relative to the config's, or None if one of them is not known."""
    base = (runner.cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    batch = _batch_size(runner)
    return batch / base if batch and base else None


def _batch_size(runner: Runner) -> int | None:
    images = (runner.cfg.get("train_dataloader") or {}).get("batch_size")
    steps = (runner.cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    return images and images * runner.world_size * steps


def _disable_own_scaling(runner: Any) -> None:
    disabled = dict(enable=False)
    if hasattr(runner, "strategy"):  # FlexibleRunner
        runner.strategy._auto_scale_lr = disabled
    else:
        runner.auto_scale_lr = disabled


def _scale(runner: Runner, factor: float) -> None:
    changes = []
    for place, optimizer in _optimizers(runner.optim_wrapper, "optim_wrapper"):
        if "lr" not in optimizer:
            raise InputError(f"{OPTION}: {place} has no lr that could be scaled; set {place}.lr")
        changes.append(_multiply(optimizer, "lr", factor, place))
    for place, scheduler in _schedulers(runner.param_schedulers, "param_scheduler"):
        if _is_of_learning_rate(scheduler):
            changes += [
                _multiply(scheduler, key, factor, place) for key in ABSOLUTE if scheduler.get(key)
            ]
    base = runner.cfg.auto_scale_lr.base_batch_size
    print_log(
        f"batch size {_batch_size(runner)} instead of {base}: learning rates are multiplied by "
        f"{factor:g}: {', '.join(changes)}",
        logger="current",
    )


def _multiply(settings: dict, key: str, factor: float, place: str) -> str:
    old = settings[key]
    several = isinstance(old, (list, tuple))  # one for each parameter group
    settings[key] = [value * factor for value in old] if several else old * factor
    shown = [
        ", ".join(f"{rate:g}" for rate in (rates if several else [rates]))
        for rates in (old, settings[key])
    ]
    return f"{place}.{key} {' -> '.join(shown)}"


def _optimizers(node: Any, place: str) -> Iterator[tuple[str, dict]]:
    """Yield place and config of each optimizer of a wrapper or of a dict of wrappers."""
    if isinstance(node, dict):
        if isinstance(node.get("optimizer"), dict):
            yield f"{place}.optimizer", node["optimizer"]
        else:
            for name, entry in node.items():
                yield from _optimizers(entry, f"{place}.{name}")


def _schedulers(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield place and scheduler, built or not, of mmengine's lists and dicts of schedulers."""
    if isinstance(node, _ParamScheduler) or (isinstance(node, dict) and "type" in node):
        yield place, node
    elif isinstance(node, (list, tuple, dict)):
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for name, entry in entries:
            yield from _schedulers(entry, f"{place}.{name}")


def _is_of_learning_rate(scheduler: Any) -> bool:
    """Whether a scheduler, built or not, sets the learning rate, not momentum or weight decay."""
    if isinstance(scheduler, _ParamScheduler):
        return scheduler.param_name == "lr"
    kind = scheduler["type"]
    if isinstance(kind, str):
        with PARAM_SCHEDULERS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if kind is None:  # mmengine reports unknown names when it builds the schedulers.
        return False
    named = issubclass(kind, LRSchedulerMixin) or kind.__name__.endswith("LR")
    return named or scheduler.get("param_name") == "lr"


class _LearningRateHook(Hook):
    """Warn at the start of the training of learning rates that its user may not expect."""

    def __init__(self, factor: float | None) -> None:
        self.factor = factor
        self.configured: list[tuple] | None = None

    def before_run(self, runner) -> None:
        """Keep the learning rates of the config, before a checkpoint replaces them."""
        if self.configured is None:
            self.configured = _rates(runner)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the learning rates of the config: ``FlexibleRunner`` resumes before ``before_run``.

        The optimizer and the schedules are loaded later.
        """
        self.before_run(runner)

    def before_train(self, runner) -> None:
        """Compare the learning rates with the batch size, the checkpoint and the schedules."""
        resumed = _rates(runner)
        configured = self.configured or []
        if resumed != configured:
            _warn(
                "resuming with the learning rates and schedules of the checkpoint "
                f"({_shown(resumed)}), not with those of the config ({_shown(configured)}): "
                "start a new run to change them"
            )
        elif self.factor not in (None, 1):
            self._warn_of_batch_size(runner)
        _warn_of_rise(runner)

    def _warn_of_batch_size(self, runner) -> None:
        wrappers = getattr(runner.optim_wrapper, "optim_wrappers", {"": runner.optim_wrapper})
        rates = [w.defaults["lr"] for w in wrappers.values() if "lr" in w.defaults]
        used, scaled = (
            ", ".join(f"{rate * factor:g}" for rate in rates) for factor in (1, self.factor)
        )
        _warn(
            f"the batch size is {_batch_size(runner)}, but the config is meant for "
            f"{runner.cfg.auto_scale_lr.base_batch_size}: training uses the learning rate {used}; "
            f"linear scaling would use {scaled}, which {OPTION} sets with the whole schedule"
        )


def _rates(runner) -> list[tuple]:
    """Return peak, end and all initial learning rates of each schedule of the learning rate.

    ``ReduceOnPlateauLR`` has no initial values, as it changes the optimizer's at any time.
    """
    return [
        (max(scheduler.base_values), getattr(scheduler, "eta_min", None), scheduler.base_values)
        for _, scheduler in _schedulers(runner.param_schedulers, "")
        if _is_of_learning_rate(scheduler) and hasattr(scheduler, "base_values")
    ]


def _shown(rates: list[tuple]) -> str:
    peaks = max((peak for peak, _, _ in rates), default=0.0)
    ends = [f"{end:g}" for _, end, _ in rates if end is not None]
    return f"{peaks:g}" + (f", eta_min {', '.join(ends)}" if ends else "")


def _warn_of_rise(runner) -> None:
    # Earlier schedules may rise on purpose: that is how cyclic ones warm up.
    ends: dict[int, tuple[str, Any]] = {}
    for place, scheduler in _schedulers(runner.param_schedulers, "param_scheduler"):
        if _is_of_learning_rate(scheduler) and getattr(scheduler, "eta_min", None) is not None:
            ends[id(scheduler.optimizer)] = place, scheduler
    for place, scheduler in ends.values():
        lowest = min(scheduler.base_values)
        if scheduler.eta_min > lowest:
            _warn(
                f"{place}.eta_min={scheduler.eta_min:g} is above the learning rate {lowest:g}, "
                "which therefore rises after the warm-up: lower eta_min, unless this is intended"
            )


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
