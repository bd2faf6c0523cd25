"""Averages of running statistics over the processes."""

from __future__ import annotations

from collections import defaultdict

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from bam_mm.distributed import mean_where_different, world_size
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class SyncStatisticsHook(Hook):
    """Average running statistics over the processes, after each epoch and before validation.

    Each process updates the statistics of BatchNorm from its own images. mmengine's
    ``SyncBuffersHook`` averages all buffers of the model, and the mean of three equal numbers can
    differ from them in the last bit. This hook changes only what can differ: floating-point
    buffers of modules in training mode, where the processes disagree. A teacher's statistics come
    from its own forward passes, so they are averaged too. Frozen modules (in evaluation mode),
    SyncBN and counters keep every bit.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self.trained = False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Note that the statistics may have changed."""
        self.trained = True

    def after_train_epoch(self, runner) -> None:
        """Average the statistics, before other hooks evaluate or save the model."""
        self._average(runner.model)

    def before_val_epoch(self, runner) -> None:
        """Average the statistics if the model was trained since: loops may count iterations.

        The model is still in training mode, as mmengine's validation loops change it afterwards.
        """
        self._average(runner.model)

    def _average(self, model: nn.Module) -> None:
        if self.trained:
            average_statistics(model)
        self.trained = False


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Average the statistics of modules in training mode over the processes, in place.

    Args:
        model: Model with the same modules in the same modes on every process.
    """
    if world_size() == 1:
        return
    groups: dict[tuple, dict[int, Tensor]] = defaultdict(dict)
    for module in model.modules():
        for buffer in module.buffers(recurse=False):
            if module.training and buffer.is_floating_point():
                groups[buffer.dtype, buffer.device][id(buffer)] = buffer
    for group in groups.values():
        buffers = list(group.values())
        averaged = mean_where_different(torch.cat([buffer.flatten() for buffer in buffers]))
        parts = averaged.split([buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))
