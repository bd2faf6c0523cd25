"""Another memory format for convolutions."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook

from bam_mm.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the weights of convolutions channels-last in memory; their outputs follow.

    Shapes, names and values in checkpoints are the same; results differ by the order of additions.
    For networks of convolutions. A ViT has but one.
    """

    # Before the first pass of any other hook.
    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        """Convert student and teacher, wrapped or not, and what the optimizer keeps of them."""
        # Not earlier: random weights are drawn in the order of memory.
        runner.model.to(memory_format=torch.channels_last)
        follow_memory_format(getattr(runner, "optim_wrapper", None))


def follow_memory_format(optimizer) -> None:
    """Lay out an optimizer's averages in memory as the parameters that they belong to.

    A run that goes on from a checkpoint of the other format has them as they were saved, and a
    fused optimizer goes through both by their place in memory: on a CPU it would, without a word,
    update each weight by another one's average.

    Args:
        optimizer: An optimizer or mmengine's wrapper of it; None, or one that is not built yet, has
            nothing to convert.
    """
    for parameter, state in getattr(
        getattr(optimizer, "optimizer", optimizer), "state", {}
    ).items():
        for name, value in state.items():
            like = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if like and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
