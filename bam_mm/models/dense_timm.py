"""Intermediate maps of timm's backbones, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import TIMMBackbone
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.caformer import CAFormer
from bam_mm.models.dense_vit import check_blocks, check_norm, normed
from bam_mm.registry import MODELS


class _IntermediateMaps:
    """Replaces the output of a ``TIMMBackbone`` by maps of ``forward_intermediates``."""

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
                f"backbone.model_name: {type(model).__name__} of timm gives no intermediate maps "
                "(forward_intermediates); choose another model"
            )
        check_blocks(stages, len(model.feature_info), what="stages")
        self.stages, self.norm = list(stages), norm
        final = _final_norm(model)
        if final is None and norm != "none":
            raise InputError(
                f"backbone.norm={norm!r}: {type(model).__name__} of timm has no final norm; choose "
                "'none'"
            )
        if norm == "all" and not hasattr(model, "blocks"):
            raise InputError(
                f"backbone.norm='all': the final norm of {type(model).__name__} is of the last "
                "stage's width alone; choose 'none' or 'last'"
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
        """Maps of the chosen stages, those of a transformer without its prefix tokens.

        Args:
            x: (N, 3, H, W), normalised.

        Returns:
            One (N, D, h, w) a stage.
        """
        model = self.timm_model
        maps = model.forward_intermediates(
            x, indices=self.stages, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        for index in normed(self.norm, len(maps)):
            maps[index] = _over_channels(_final_norm(model), maps[index])
        return tuple(maps)


@MODELS.register_module()
class DenseTIMM(_IntermediateMaps, TIMMBackbone):
    """Any backbone of timm that has ``forward_intermediates``.

    Args:
        model_name: Its name.
        stages: Which maps, counted from 0: blocks of a transformer, stages of a pyramid.
        norm: As for :class:`~bam_mm.models.dense_vit.DenseViT`.
        activation_checkpointing: Likewise.
        frozen: Likewise.
        **kwargs: For mmpretrain's ``TIMMBackbone`` and timm, such as ``drop_path_rate`` or, for a
            transformer that shall take inputs of any size, ``dynamic_img_size=True``.

    Raises:
        InputError: If the model gives no such maps, or has no such norm.
    """


@MODELS.register_module()
class DenseCAFormer(_IntermediateMaps, CAFormer):
    """:class:`~bam_mm.models.caformer.CAFormer` with its four stages as outputs.

    Arguments as for :class:`DenseTIMM`.
    """


def _final_norm(model: nn.Module) -> nn.Module | None:
    # Transformers have it on top, pyramids in the head, which stays when the classifier is removed.
    for owner in (model, getattr(model, "head", None)):
        norm = getattr(owner, "norm", None)
        if norm is not None and not isinstance(norm, nn.Identity):
            return norm
    return None


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    # timm's LayerNorm2d turns the channels to the end by itself.
    if any(base.__name__ == "LayerNorm2d" for base in type(norm).__mro__):
        return norm(x)
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
