"""Models in evaluation: their mode, and a wrapper for several processes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from bam_mm.distributed import whole_parameters
from bam_mm.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class EvaluationWrapper(nn.Module):
    """Replacement of mmengine's distributed wrapper for models that are not trained.

    mmengine's wrapper synchronises gradients, so it refuses frozen models and models on the CPU.

    Args:
        module: Model with the same weights on every process.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module

    def test_step(self, data: dict) -> list:
        """Run the ``test_step`` of the model."""
        return self.module.test_step(data)


@contextmanager
def evaluated(backbones: Collection[nn.Module]) -> Iterator[None]:
    """Hold backbones in evaluation mode, and whole if they are sharded; then restore their modes.

    Args:
        backbones: Backbones in any mode.
    """
    were_training = [backbone.training for backbone in backbones]
    for backbone in backbones:
        backbone.eval()
    try:
        with whole_parameters(*backbones):
            yield
    finally:
        for backbone, mode in zip(backbones, were_training, strict=True):
            backbone.train(mode)
