"""Maps as a detector's heads need them: float32 and contiguous."""

from __future__ import annotations

from torch import Tensor, nn

from bam_mm.registry import MODELS


@MODELS.register_module()
class ToFloat32(nn.Module):
    """Last neck of a detector, which converts the maps to contiguous float32.

    mmdet computes box coordinates in the dtype of the maps, and beyond 256 bfloat16 cannot
    represent every pixel. Under autocast, the convolutions that follow still run in the lower
    precision.

    The tokens of a ViT become maps in channels-last order, which convolutions preserve. mmcv's
    compiled RoIAlign reads every input as if it were contiguous (open-mmlab/mmcv issue 2203), so
    that the boxes would get scrambled features, without an error.
    """

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Convert maps to contiguous float32.

        Args:
            maps: (N, C, h, w) maps in any floating-point dtype and any memory format.

        Returns:
            The same maps in float32, contiguous in the order N, C, h, w.
        """
        return tuple(x.float().contiguous() for x in maps)
