"""A transformer's blocks as maps, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mmpretrain.models import VisionTransformer
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.registry import MODELS

NORMS = ("none", "last", "all")
"""On which of the maps the final LayerNorm is applied."""


@MODELS.register_module()
class DenseViT(VisionTransformer):
    """mmpretrain's ``VisionTransformer`` with the patch tokens of chosen blocks as outputs.

    Its tensors have the names that mmpretrain gives them, the final LayerNorm included whether it
    is used or not, so that a checkpoint is proven complete whatever ``norm`` is. What the maps do
    not depend on is frozen: DistributedDataParallel waits for every parameter that is trained.

    Args:
        blocks: Whose outputs are given, counted from 0.
        norm: ``none``: the maps are the residual stream (MAE, BEiT); ``all``: each passes the final
            LayerNorm (iBOT's segmentation); ``last``: the last of them alone.
        activation_checkpointing: Less memory for more time, see
            :func:`~bam_mm.models.activation_checkpointing.checkpoint_blocks`.
        frozen: Whether nothing of it is trained, and drop path is off; a head alone learns.
        **kwargs: For ``VisionTransformer``. ``img_size`` is that of the pretraining: the position
            embedding has its grid, and is resized bicubically to that of every input.

    Raises:
        InputError: If there is no such block, or no such ``norm``.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 5, 7, 11),
        norm: str = "none",
        activation_checkpointing: bool = False,
        frozen: bool = False,
        **kwargs,
    ) -> None:
        check_norm(norm)
        # Which blocks there are is known only when they are built.
        super().__init__(out_type="featmap", final_norm=True, **kwargs)
        check_blocks(blocks, len(self.layers))
        self.out_indices, self.norm = list(blocks), norm
        # The parent would put the norm on the last block alone; here forward() does.
        self.final_norm = False
        self.layers[blocks[-1] + 1 :].requires_grad_(False)
        self.ln1.requires_grad_(norm != "none")
        if activation_checkpointing:
            checkpoint_blocks(self)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> DenseViT:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of the chosen blocks.

        Args:
            x: (N, 3, H, W), normalised.

        Returns:
            One (N, D, H / patch, W / patch) a block, rounded up.
        """
        maps = list(super().forward(x))
        for index in normed(self.norm, len(maps)):
            maps[index] = self.ln1(maps[index].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return tuple(maps)


def normed(norm: str, number: int) -> range:
    """Indices of the maps that pass the final norm."""
    return range({"none": number, "last": number - 1, "all": 0}[norm], number)


def check_norm(norm: str) -> None:
    """Check an argument.

    Raises:
        InputError: If it is none of :data:`NORMS`.
    """
    if norm not in NORMS:
        raise InputError(f"backbone.norm={norm!r}: choose one of {', '.join(NORMS)}")


def check_blocks(blocks: Sequence[int], number: int, what: str = "blocks") -> None:
    """Check an argument.

    Raises:
        InputError: Unless they are ascending and among 0 to ``number - 1``.
    """
    ascending = all(a < b for a, b in pairwise(blocks))
    if not blocks or not ascending or blocks[0] < 0 or blocks[-1] >= number:
        raise InputError(
            f"backbone.{what}={list(blocks)}: choose some of 0 to {number - 1}, in ascending order"
        )
