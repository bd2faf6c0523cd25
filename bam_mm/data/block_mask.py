"""Masks of BEiT: rectangular blocks of patches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mmpretrain.datasets import BEiTMaskGenerator

from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS

ATTEMPTS = 10
"""Number of blocks to draw before a mask gets another limit, as in the authors' code."""


@TRANSFORMS.register_module()
class BlockMask(BEiTMaskGenerator):
    """Blockwise masks of BEiT (Bao et al., ICLR 2022, algorithm 1) that reach every patch.

    mmpretrain's generator draws the corner of a block from a range without its end, so it never
    hides the last row and column, which are 11 of 36 patches in the toy world. The authors' code
    draws with the end. The draws are those of NumPy's global generator.

    Args:
        input_size: Number of patches in a column and in a row, or both as one number.
        num_masking_patches: Number of patches to hide.
        **kwargs: Arguments of mmpretrain's ``BEiTMaskGenerator``.

    Raises:
        InputError: If not even one patch, or all of them, would be hidden.
    """

    def __init__(
        self, input_size: int | tuple[int, int], num_masking_patches: int, **kwargs: Any
    ) -> None:
        size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        if not 0 < num_masking_patches < math.prod(size):
            raise InputError(
                f"BlockMask num_masking_patches={num_masking_patches}: choose at least 1 and fewer "
                f"than the {math.prod(size)} patches of input_size={input_size}"
            )
        super().__init__(size, num_masking_patches, **kwargs)

    def _mask(self, mask: np.ndarray, max_mask_patches: int) -> int:
        """Hide one more block of patches, in place.

        Args:
            mask: (h, w) mask with 1 for hidden patches.
            max_mask_patches: Largest number of patches to hide.

        Returns:
            The number of patches that were visible and are hidden now, 0 if no block fitted.
        """
        for _ in range(ATTEMPTS):
            area = np.random.uniform(self.min_num_patches, max_mask_patches)
            aspect = math.exp(np.random.uniform(*self.log_aspect_ratio))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= self.height or width >= self.width:
                continue
            top = np.random.randint(self.height - height + 1)
            left = np.random.randint(self.width - width + 1)
            block = mask[top : top + height, left : left + width]
            new = block.size - int(block.sum())
            if 0 < new <= max_mask_patches:
                block[:] = 1
                return new
        return 0
