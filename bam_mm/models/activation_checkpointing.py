"""Less memory for more time: blocks whose activations are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from bam_mm.errors import InputError
from bam_mm.optim.blocks import residual_blocks


def checkpoint_blocks(backbone: nn.Module) -> int:
    """Let every residual block of a backbone keep its input only, and compute the rest again.

    Values, gradients, random numbers (stochastic depth), BatchNorm statistics and the names of
    parameters stay as they are. mmengine has such a switch for a config too, but it names every
    block, checkpoints re-entrantly, which DistributedDataParallel does not follow everywhere, and
    lets BatchNorm count each batch twice.

    Args:
        backbone: mmpretrain's transformers and ResNets, or timm's networks that are made of blocks.
            Changed in place.

    Returns:
        Number of blocks.

    Raises:
        InputError: If the backbone's blocks are not known.
    """
    blocks = list(residual_blocks(backbone))
    if not blocks:
        raise InputError(
            f"model.activation_checkpointing=True: the blocks of {type(backbone).__name__} are not "
            "known; switch it off, or use a VisionTransformer, a ResNet or a timm backbone with "
            "blocks"
        )
    for block in blocks:
        block.forward = _Recomputed(block)
    return len(blocks)


class _Recomputed:
    """A block's ``forward``. A class and no closure, so that a deep copy runs the copy's block."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        # What another one has put into the place of the class's, such as a compiled one.
        self.inner = vars(block).get("forward")

    def __call__(self, *args: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._forward(*args)
        return checkpoint(
            self._forward,
            *args,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _held_statistics(self.block)),
        )

    def _forward(self, *args: Tensor) -> Tensor:
        if self.inner is not None:
            return self.inner(*args)
        return type(self.block).forward(self.block, *args)


@contextmanager
def _held_statistics(block: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch, but leave its running statistics alone."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
