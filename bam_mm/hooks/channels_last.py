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
        """Convert student and teacher, wrapped or not."""
        # Not earlier: random weights are drawn in the order of memory.
        runner.model.to(memory_format=torch.channels_last)
