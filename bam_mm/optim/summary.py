"""One line about the parameter groups of an optimizer, instead of one for each parameter."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@contextmanager
def warnings_only() -> Iterator[None]:
    """Log only warnings and errors in the meantime, unless the log's level is ``DEBUG``."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    detailed = any(handler.level == logging.DEBUG for handler in logger.handlers)
    if not detailed:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def describe_groups(groups: Sequence[Mapping[str, Any]]) -> str:
    """Describe the parameter groups of an optimizer.

    Args:
        groups: Dicts with ``params`` and settings.

    Returns:
        Such as ``optimizer: 40 tensors (1.9 million numbers); weight decay 0.04: 16 tensors, 0: 24
        tensors; learning rate 0.0005``.
    """
    sizes = [len(group["params"]) for group in groups]
    numbers = sum(parameter.numel() for group in groups for parameter in group["params"])
    tensors: dict[float, int] = {}
    for group, size in zip(groups, sizes, strict=True):
        decay = float(group.get("weight_decay") or 0)
        tensors[decay] = tensors.get(decay, 0) + size
    shares = ", ".join(f"{decay:g}: {count} tensors" for decay, count in sorted(tensors.items()))
    rates = sorted({float(group["lr"]) for group in groups if "lr" in group})
    text = f"optimizer: {sum(sizes)} tensors ({numbers:,} numbers); weight decay {shares}"
    if rates:
        text += f"; learning rate {rates[0]:.3g}"
        text += f" to {rates[-1]:.3g} in {len(groups)} groups" * (len(rates) > 1)
    return text


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BriefOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, which logs one line instead of one for each parameter.

    mmengine logs ``paramwise_options -- NAME:weight_decay=0.0`` for each parameter with a setting
    of its own: 38 lines for the smallest transformer of this package, hundreds for a large one.
    With ``log_level="DEBUG"`` these lines are logged, too.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model."""
        with warnings_only():
            wrapper = super().__call__(model)
        optimizer = getattr(wrapper, "optimizer", None)
        if self.paramwise_cfg and optimizer is not None:
            print_log(describe_groups(optimizer.param_groups), logger="current")
        return wrapper
