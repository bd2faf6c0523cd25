"""Many processes without gradients."""

from __future__ import annotations

from torch import nn

from bam_mm.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class EvaluationWrapper(nn.Module):
    """Stand in for mmengine's distributed wrapper where nothing is trained.

    That one synchronises gradients: it refuses a frozen model, and a model on the CPU.

    Args:
        module: The model, the same on every process.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def test_step(self, data: dict) -> list:
        """Test the model itself."""
        return self.module.test_step(data)
