"""Faster residual blocks with ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.optim.blocks import known_blocks


def compile_blocks(backbone: nn.Module, options: Mapping[str, Any] | None = None) -> int:
    """Compile each residual block of a backbone with ``torch.compile``, in place.

    Blocks of one kind share their compiled code, once per resolution, so compiling takes seconds
    instead of the minutes that the whole network would take. The code around the blocks could not
    be compiled as a whole anyway, because mmpretrain uses numpy to resize position embeddings. The
    names of parameters, and with them checkpoints, stay the same. In evaluation mode the blocks run
    uncompiled, so that hooks on their submodules (heat maps, features of layers) are called.

    If the blocks are checkpointed as well, call
    :func:`~bam_mm.models.activation_checkpointing.checkpoint_blocks` after this function.

    Args:
        backbone: Transformer or ResNet of mmpretrain, or network of timm that consists of blocks.
        options: Options of ``torch.compile``. The default is ``dynamic=False``, because there are
            only a few resolutions.

    Returns:
        Number of blocks.

    Raises:
        InputError: If the blocks of the backbone are unknown.
    """
    blocks = known_blocks(backbone, "model.compile_blocks")
    # Every kind of block and resolution is compiled with and without gradients. Beyond its limit,
    # which guards against accidental recompilation, torch silently stops compiling.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 4 * len(blocks))
    for block in blocks:
        modules: Iterable[Any] = block.modules()
        for module in modules:
            # mmpretrain's stochastic depth gets its rate as a numpy scalar, and torch.compile
            # cannot branch on it.
            if hasattr(module, "drop_prob"):
                module.drop_prob = float(module.drop_prob or 0.0)
        block.forward = _Compiled(block, {"dynamic": False, **(options or {})})
    return len(blocks)


class _Compiled:
    """Compiled ``forward`` of a block.

    It is a class instead of a closure, so that a deep copy runs the copied block.
    """

    def __init__(self, block: nn.Module, options: dict[str, Any]) -> None:
        self.block, self.options = block, options
        self._run = torch.compile(type(block).forward, **options)

    def __call__(self, *args: Tensor) -> Tensor:
        run = self._run if self.block.training else type(self.block).forward
        return run(self.block, *args)

    def __deepcopy__(self, memo: dict) -> _Compiled:
        return type(self)(memo[id(self.block)], self.options)
