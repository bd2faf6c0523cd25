"""Activation checkpointing: blocks that recompute their activations in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from bam_mm.optim.blocks import known_blocks


def checkpoint_blocks(backbone: nn.Module) -> int:
    """Make every residual block of a backbone store only its input and recompute the rest.

    This trades time for memory. Values, gradients, random numbers (stochastic depth), BatchNorm
    statistics and parameter names stay the same. mmengine has a similar config option, but it needs
    the name of every block, uses re-entrant checkpointing, which DistributedDataParallel does not
    fully support, and makes BatchNorm count each batch twice.

    Args:
        backbone: Transformer or ResNet of mmpretrain, or network of timm that consists of blocks;
            changed in place.

    Returns:
        Number of blocks.

    Raises:
        InputError: If the blocks of the backbone are unknown.
    """
    blocks = known_blocks(backbone, "model.activation_checkpointing=True")
    for block in blocks:
        block.forward = _Recomputed(block)
    return len(blocks)


class _Recomputed:
    """Checkpointed ``forward`` of a block.

    It is a class instead of a closure, so that a deep copy runs the copied block.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        # A forward that already replaces the class's own, such as a compiled one.
        self.inner = vars(block).get("forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        return checkpoint(
            self._forward,
            *args,
            **kwargs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _held_statistics(self.block)),
        )

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.block).forward(self.block, *args, **kwargs)


@contextmanager
def _held_statistics(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch without changing its running statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m.momentum, cast(Tensor, m.num_batches_tracked).clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            cast(Tensor, norm.num_batches_tracked).copy_(count)
