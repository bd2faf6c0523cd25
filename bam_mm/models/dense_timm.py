"""Backbones of timm that output intermediate maps, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import TIMMBackbone
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.caformer import CAFormer
from bam_mm.models.dense_vit import check_blocks, check_norm, normed
from bam_mm.models.loading import RefusesPretraining
from bam_mm.registry import MODELS


class _IntermediateMaps(RefusesPretraining, TIMMBackbone):
    """``TIMMBackbone`` that outputs the maps of ``forward_intermediates``."""

    def __init__(
        self,
        *args,
        stages: Sequence[int] = (0, 1, 2, 3),
        norm: str = "none",
        activation_checkpointing: bool = False,
        frozen: bool = False,
        **kwargs,
    ) -> None:
        check_norm(norm)
        super().__init__(*args, **kwargs)
        model = self.timm_model
        if not hasattr(model, "forward_intermediates"):
            raise InputError(
                f"backbone.model_name: timm's {type(model).__name__} has no intermediate maps "
                "(forward_intermediates); choose another model"
            )
        check_blocks(stages, len(model.feature_info), what="stages")
        self.stages, self.norm = list(stages), norm
        final = _final_norm(model)
        if final is None and norm != "none":
            raise InputError(
                f"backbone.norm={norm!r}: timm's {type(model).__name__} has no final norm; set "
                "it to 'none'"
            )
        if norm == "all" and not hasattr(model, "blocks"):
            raise InputError(
                f"backbone.norm='all': the final norm of {type(model).__name__} only fits the "
                "width of the last stage; choose 'none' or 'last'"
            )
        if final is not None:
            final.requires_grad_(norm != "none")
        if activation_checkpointing:
            checkpoint_blocks(self)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> nn.Module:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of the chosen stages, without the prefix tokens of a transformer.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            One map (N, D, h, w) per stage.
        """
        model = self.timm_model
        maps = model.forward_intermediates(
            x, indices=self.stages, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        for index in normed(self.norm, len(maps)):
            final = _final_norm(model)
            assert final is not None  # Checked in __init__.
            maps[index] = _over_channels(final, maps[index])
        return tuple(maps)


@MODELS.register_module()
class DenseTIMM(_IntermediateMaps):
    """Any backbone of timm with ``forward_intermediates`` that outputs intermediate maps.

    Args:
        model_name: Name of the model in timm.
        stages: Indices of the maps, counted from 0: blocks of a transformer, or stages of a
            pyramid.
        norm: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        activation_checkpointing: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        frozen: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        **kwargs: Arguments of mmpretrain's ``TIMMBackbone`` and of the timm model, such as
            ``drop_path_rate``, or ``dynamic_img_size=True`` for a transformer with inputs of any
            size.

    Raises:
        InputError: If the model has no intermediate maps or stages of that index, or no norm that
            fits.
    """


@MODELS.register_module()
class DenseCAFormer(_IntermediateMaps, CAFormer):
    """:class:`~bam_mm.models.caformer.CAFormer` that outputs the maps of its four stages.

    The arguments are those of :class:`DenseTIMM` and of the CAFormer.
    """


def _final_norm(model: nn.Module) -> nn.Module | None:
    # Transformers have it at the top level, pyramids in the head, which timm keeps when it removes
    # the classifier.
    for owner in (model, getattr(model, "head", None)):
        norm = getattr(owner, "norm", None)
        if norm is not None and not isinstance(norm, nn.Identity):
            return norm
    return None


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    # timm's LayerNorm2d moves the channels to the last dimension itself.
    if any(base.__name__ == "LayerNorm2d" for base in type(norm).__mro__):
        return norm(x)
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
