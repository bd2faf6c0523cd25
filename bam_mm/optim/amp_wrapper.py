"""Mixed precision that scales the loss only where the data type needs it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper as ScalingWrapper

from bam_mm.registry import OPTIM_WRAPPERS

NARROW = (None, "float16", torch.float16)
"""Data types whose smallest gradients become 0; on a GPU, None is float16."""


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(ScalingWrapper):
    """mmengine's ``AmpOptimWrapper``, but without a loss scaler for bfloat16 by default.

    bfloat16 has the exponents of float32, so no gradient is lost for lack of a scale. With a
    scaler, every step checks all gradients, and optimizers that cannot skip a step on the device
    (``_step_supports_amp_scaling``) wait for the result.

    Checkpoints of mmengine's wrapper can be resumed: without a scaler, the saved scale is ignored;
    a scaler without a saved scale starts with its first one.

    Args:
        loss_scale: As in mmengine: ``"dynamic"``, a fixed scale, or arguments of ``GradScaler``.
            The default is dynamic for float16 (also without ``dtype``), and no scale for the other
            data types.
        dtype: Data type of autocast, such as ``"bfloat16"``; the default is the device's.
        **kwargs: Further arguments of mmengine's wrapper.
    """

    def __init__(
        self,
        loss_scale: str | float | dict | None = None,
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if loss_scale is None:
            loss_scale = "dynamic" if dtype in NARROW else dict(enabled=False)
        super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of the optimizer, and that of the scaler if there is one.

        Args:
            state_dict: State of this wrapper or of mmengine's.
        """
        if not state_dict.get("loss_scaler", True):  # Saved without a scaler.
            state_dict.pop("loss_scaler")
        super().load_state_dict(state_dict)
