"""Channels-last memory format for convolutions."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook

from bam_mm.distributed import is_sharded
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store the weights of convolutions channels-last in memory; their outputs follow.

    Shapes, names and values in checkpoints stay the same, and results differ only by the order of
    additions. Use it for convolutional networks; a ViT has a single convolution. Sharded weights
    (:class:`~bam_mm.optim.sharding.ShardedStrategy`) stay as they are, with a warning.
    """

    # Before any other hook runs the model.
    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        """Convert student and teacher, wrapped or not, and the state of the optimizer."""
        if is_sharded(runner.model):
            runner.logger.warning("ChannelsLastHook: sharded weights keep their memory format")
            return
        # Not earlier, because random weights are drawn in memory order.
        runner.model.to(memory_format=torch.channels_last)
        follow_memory_format(getattr(runner, "optim_wrapper", None))


def follow_memory_format(optimizer) -> None:
    """Convert an optimizer's moving averages to the memory format of their parameters.

    A checkpoint may contain averages in the other format, and a fused optimizer pairs parameters
    and averages by their position in memory. On a CPU it would silently update each weight with the
    average of another weight.

    Args:
        optimizer: Optimizer or mmengine's wrapper of it. None, or an optimizer that is not built
            yet, is ignored.
    """
    for parameter, state in getattr(
        getattr(optimizer, "optimizer", optimizer), "state", {}
    ).items():
        for name, value in state.items():
            like = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if like and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
