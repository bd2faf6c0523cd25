"""Faster blocks by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.optim.blocks import residual_blocks


def compile_blocks(backbone: nn.Module, options: Mapping[str, Any] | None = None) -> int:
    """Let ``torch.compile`` compile each residual block of a backbone, in place.

    Blocks of one kind share their compiled code, one for each resolution: compiling takes seconds
    and not the minutes that the whole network would. What lies around the blocks (mmpretrain
    decides in numpy how position embeddings are resized) could not be compiled as a whole anyway.
    Names of parameters and checkpoints stay as they are. In evaluation mode the blocks run
    uncompiled, so that hooks on their parts (heat maps, features of layers) are called.

    Args:
        backbone: As for :func:`~bam_mm.models.activation_checkpointing.checkpoint_blocks`, which
            comes after this one where both are wanted.
        options: Of ``torch.compile``. By default ``dynamic=False``: there are a few resolutions.

    Returns:
        Number of blocks.

    Raises:
        InputError: If the backbone's blocks are not known.
    """
    blocks = list(residual_blocks(backbone))
    if not blocks:
        raise InputError(
            f"model.compile_blocks: the blocks of {type(backbone).__name__} are not known; switch "
            "it off, or use a VisionTransformer, a ResNet or a timm backbone with blocks"
        )
    # A code for every kind of block and resolution, with and without gradients; torch gives up
    # silently beyond its limit, which is meant for programs that compile by accident.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 4 * len(blocks))
    for block in blocks:
        for module in block.modules():
            # mmpretrain's stochastic depth has its rate from numpy, on which torch cannot branch.
            if hasattr(module, "drop_prob"):
                module.drop_prob = float(module.drop_prob or 0.0)
        block.forward = _Compiled(block, {"dynamic": False, **(options or {})})
    return len(blocks)


class _Compiled:
    """A block's ``forward``. A class and no closure, so that a deep copy runs the copy's block."""

    def __init__(self, block: nn.Module, options: dict[str, Any]) -> None:
        self.block, self.options = block, options
        self._run = torch.compile(type(block).forward, **options)

    def __call__(self, *args: Tensor) -> Tensor:
        run = self._run if self.block.training else type(self.block).forward
        return run(self.block, *args)

    def __deepcopy__(self, memo: dict) -> _Compiled:
        return type(self)(memo[id(self.block)], self.options)
