"""Losses that are logged without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from torch import Tensor

from bam_mm.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, but losses and gradient norms stay on the device for a while.

    mmengine reads each loss, and the norm of a gradient that is clipped, in every iteration. On a
    GPU each reading waits until all that was queued is computed, so the next step cannot be queued
    meanwhile. Here they are read together, when ``LoggerHook`` is about to write a line, at the end
    of an epoch, and when a checkpoint is saved. Histories, logs and checkpoints are the same.

    Use it in place of mmengine's: ``default_hooks = dict(runtime_info=dict(type=...))``.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[tuple[str, Tensor | float]] = []
        self.intervals: list[int] = []
        self.clip: _UnreadClip | None = None

    def before_train(self, runner) -> None:
        """Note when the logger reads, and take the gradient's norm out of mmengine's hands."""
        super().before_train(runner)
        self.intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        wrapper = runner.optim_wrapper
        if getattr(wrapper, "clip_grad_kwargs", None):
            if not isinstance(wrapper.clip_func, _UnreadClip):
                wrapper.clip_func = _UnreadClip(wrapper.clip_func)
            self.clip = wrapper.clip_func

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep the values; read them where somebody else is about to."""
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
        """Let the checkpoint have all values up to now."""
        if self.pending:
            self.flush(runner)
            checkpoint["message_hub"] = runner.message_hub.state_dict()

    def after_train(self, runner) -> None:
        """Leave nothing behind."""
        self.flush(runner)
        super().after_train(runner)

    def flush(self, runner) -> None:
        """Write all values that are kept, in their order, with one reading of the device."""
        tensors = [value for _, value in self.pending if isinstance(value, Tensor)]
        read = iter(())
        if tensors:
            # A copy to another device does not wait; the list does.
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
    """A function that clips gradients, and keeps their norm instead of returning it.

    mmengine logs what such a function returns, unless it is None, and reads it for that.
    """

    def __init__(self, clip: Callable[..., Tensor | None]) -> None:
        self.clip = clip
        self.norm: Tensor | None = None

    def __call__(self, *args, **kwargs) -> None:
        norm = self.clip(*args, **kwargs)
        self.norm = norm.detach() if isinstance(norm, Tensor) else norm
