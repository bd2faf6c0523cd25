"""Vision transformer whose blocks output maps, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mmpretrain.models import VisionTransformer
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.adapters.contract import NORMS
from bam_mm.models.dense_inputs import check_fit, fit_images
from bam_mm.models.loading import RefusesPretraining
from bam_mm.models.map_norm import over_channels
from bam_mm.registry import MODELS


@MODELS.register_module()
class DenseViT(RefusesPretraining, VisionTransformer):
    """mmpretrain's ``VisionTransformer`` that outputs the patch tokens of chosen blocks as maps.

    The parameters keep mmpretrain's names. The final LayerNorm always exists, used or not, so that
    a checkpoint can be proven complete for every ``norm``. Parameters that the maps do not depend
    on are frozen, because DistributedDataParallel waits for the gradient of every trained one.

    Args:
        blocks: Indices of the blocks whose outputs are returned, counted from 0, ascending.
        norm: Maps that pass the final LayerNorm: ``none`` (the maps are the residual stream, as in
            MAE and BEiT), ``all`` (as in iBOT's segmentation), or ``last`` (the last map only).
        activation_checkpointing: Whether the blocks recompute their activations in the backward
            pass to save memory, see
            :func:`~bam_mm.models.activation_checkpointing.checkpoint_blocks`.
        frozen: Whether no parameter is trained and drop path is off, so that only the head learns.
        fit_input: Way to make the sides of the images multiples of the patch size, ``pad`` or
            ``resize``, see :func:`~bam_mm.models.dense_inputs.fit_images`.
        **kwargs: Arguments of ``VisionTransformer``. ``img_size`` is the size used in pretraining:
            the position embedding has its grid, and is resized bicubically to the grid of each
            input.

    Raises:
        InputError: If a block does not exist, or ``norm`` or ``fit_input`` is unknown.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 5, 7, 11),
        norm: str = "none",
        activation_checkpointing: bool = False,
        frozen: bool = False,
        fit_input: str = "pad",
        **kwargs,
    ) -> None:
        check_norm(norm)
        check_fit(fit_input)
        # The number of blocks is known only after they are built.
        super().__init__(out_type="featmap", final_norm=True, **kwargs)
        check_blocks(blocks, len(self.layers))
        self.out_indices, self.norm, self.fit_input = list(blocks), norm, fit_input
        # The parent class would apply the norm to its last block; forward() does it instead.
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
        """Compute the maps of the chosen blocks.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            One map (N, D, H / patch, W / patch) per block, sizes rounded up.
        """
        patch: Any = self.patch_embed
        maps = list(super().forward(fit_images(x, patch.projection.stride[0], self.fit_input)))
        for index in normed(self.norm, len(maps)):
            maps[index] = over_channels(self.ln1, maps[index])
        return tuple(maps)


def normed(norm: str, number: int) -> range:
    """Return the indices of the maps that pass the final norm.

    Args:
        norm: One of :data:`~bam_mm.models.adapters.contract.NORMS`; any other word means the last
            map.
        number: Number of maps.
    """
    return range({"none": number, "all": 0}.get(norm, number - 1), number)


def check_norm(norm: str, others: Sequence[str] = ()) -> None:
    """Check the argument ``norm``.

    Args:
        norm: The argument.
        others: Further accepted values.

    Raises:
        InputError: If it is not one of these and :data:`~bam_mm.models.adapters.contract.NORMS`.
    """
    if norm not in (*NORMS, *others):
        raise InputError(f"backbone.norm={norm!r}: choose one of {', '.join((*NORMS, *others))}")


def check_blocks(blocks: Sequence[int], number: int, what: str = "blocks") -> None:
    """Check the argument that selects the outputs.

    Args:
        blocks: Indices of the selected outputs.
        number: Number of outputs to select from.
        what: Name of the argument.

    Raises:
        InputError: If they are no list of integers, not ascending, or not in the range 0 to
            ``number - 1``.
    """
    listed = isinstance(blocks, Sequence) and all(isinstance(each, int) for each in blocks)
    ascending = listed and all(a < b for a, b in pairwise(blocks))
    if not blocks or not ascending or blocks[0] < 0 or blocks[-1] >= number:
        raise InputError(
            f"backbone.{what}={list(blocks) if listed else blocks!r}: choose numbers from 0 to "
            f"{number - 1}, in a list in ascending order"
        )
