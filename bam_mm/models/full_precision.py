"""Back to float32 where mixed precision is too coarse."""

from __future__ import annotations

from torch import Tensor, nn

from bam_mm.registry import MODELS


@MODELS.register_module()
class ToFloat32(nn.Module):
    """The last neck of a detector: its maps in float32.

    What reads boxes out of them takes the maps' type for the coordinates: in bfloat16 a pixel
    beyond 256 is a place of two pixels. Convolutions that follow turn back to the lower precision
    by themselves.
    """

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Convert.

        Args:
            maps: (N, C, h, w) each.

        Returns:
            The same in float32.
        """
        return tuple(x.float() for x in maps)
