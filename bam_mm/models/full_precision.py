"""Conversion to float32 where mixed precision is too coarse."""

from __future__ import annotations

from torch import Tensor, nn

from bam_mm.registry import MODELS


@MODELS.register_module()
class ToFloat32(nn.Module):
    """Last neck of a detector, which converts the maps to float32.

    mmdet computes box coordinates in the dtype of the maps, and beyond 256 bfloat16 cannot
    represent every pixel. Under autocast, the convolutions that follow still run in the lower
    precision.
    """

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Convert maps to float32.

        Args:
            maps: (N, C, h, w) maps in any floating-point dtype.

        Returns:
            The same maps in float32.
        """
        return tuple(x.float() for x in maps)
