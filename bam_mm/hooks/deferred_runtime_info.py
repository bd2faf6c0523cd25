"""Logging of losses without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from torch import Tensor

from bam_mm.distributed import whole_everywhere
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, but losses and gradient norms are read from the device later.

    mmengine reads every loss, and the gradient norm if gradients are clipped, in every iteration.
    On a GPU, each read waits until all queued work is finished, so the next step cannot be queued
    in the meantime. This hook reads the values together: when ``LoggerHook`` is about to write a
    line, at the end of an epoch, and when a checkpoint is saved. Histories, logs and checkpoints
    are the same as mmengine's.

    Use it instead of mmengine's hook: ``default_hooks = dict(runtime_info=dict(type=...))``.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[tuple[str, Tensor | float]] = []
        self.intervals: list[int] = []
        self.clip: _UnreadClip | None = None

    def before_train(self, runner) -> None:
        """Look up when the logger reads, and keep mmengine from reading the gradient norm."""
        super().before_train(runner)
        self.intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        wrapper = runner.optim_wrapper
        if getattr(wrapper, "clip_grad_kwargs", None):
            if not isinstance(wrapper.clip_func, _UnreadClip):
                wrapper.clip_func = _UnreadClip(wrapper.clip_func)
            self.clip = wrapper.clip_func

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Store the values, and read them if another hook is about to use them."""
        if self.clip is not None and self.clip.norm is not None:
            self.pending.append((f"train/{runner.optim_wrapper.grad_name}", self.clip.norm))
            self.clip.norm = None
        for key, value in (outputs or {}).items():
            kept = value.detach() if isinstance(value, Tensor) else value
            self.pending.append((f"train/{key}", kept))
        if (
            runner.iter == 0
            or runner.iter + 1 == runner.max_iters
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or any(self.every_n_inner_iters(batch_idx, interval) for interval in self.intervals)
        ):
            self.flush(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save all values up to now in the checkpoint."""
        if self.pending:
            self.flush(runner)
            checkpoint["message_hub"] = runner.message_hub.state_dict()

    def after_train(self, runner) -> None:
        """Read the remaining values."""
        self.flush(runner)
        super().after_train(runner)

    def flush(self, runner) -> None:
        """Write all stored values to the message hub, in order, with one read of the device."""
        tensors = [value for _, value in self.pending if isinstance(value, Tensor)]
        read = iter(())
        if tensors:
            # The copy to another device does not wait; tolist() does.
            device = tensors[0].device
            gathered = torch.stack(
                [t.reshape(()).to(device, torch.float64, non_blocking=True) for t in tensors]
            )
            read = iter(gathered.tolist())
        for name, value in self.pending:
            number = next(read) if isinstance(value, Tensor) else value
            runner.message_hub.update_scalar(name, number)
        self.pending.clear()


class _UnreadClip:
    """Function that clips gradients and stores their norm instead of returning it.

    If such a function returns a norm, mmengine reads it from the device to log it.
    """

    def __init__(self, clip: Callable[..., Tensor | None]) -> None:
        self.clip = clip
        self.norm: Tensor | None = None

    def __call__(self, *args, **kwargs) -> None:
        norm = self.clip(*args, **kwargs)
        # Every process clips, but only the first one reads the values before a checkpoint.
        self.norm = whole_everywhere(norm.detach()) if isinstance(norm, Tensor) else norm
