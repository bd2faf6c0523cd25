"""Model wrapper for evaluation on several processes."""

from __future__ import annotations

from typing import Any

from torch import nn

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
