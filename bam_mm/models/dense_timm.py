"""Backbones of timm that output intermediate maps, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmpretrain.models import TIMMBackbone
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.models.caformer import CAFormer
from bam_mm.models.dense_inputs import check_fit
from bam_mm.models.dense_parts import ADDED, DenseMixin, pair
from bam_mm.models.dense_stages import default_stages, is_column
from bam_mm.models.dense_vit import check_blocks, check_norm, normed
from bam_mm.models.loading import RefusesPretraining
from bam_mm.models.map_norm import over_channels
from bam_mm.registry import MODELS

ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""Arguments by which networks of timm accept images of any size, in the order of trial."""


class _IntermediateMaps(DenseMixin, RefusesPretraining, TIMMBackbone):
    """``TIMMBackbone`` that outputs the maps of ``forward_intermediates``."""

    timm_model: Any

    def __init__(
        self,
        model_name: str,
        *,
        stages: Sequence[int] | None = None,
        norm: str = "none",
        fit_input: str = "pad",
        activation_checkpointing: bool = False,
        frozen: bool = False,
        norm_eval: bool = False,
        sync_bn: bool = False,
        **kwargs,
    ) -> None:
        check_norm(norm, (ADDED,))
        check_fit(fit_input)
        self._build(model_name, **kwargs)
        self.name = model_name
        known = adapter_of(self)
        chosen = [stage.place for stage in default_stages(known.stages)]
        stages = chosen if stages is None else stages
        check_blocks(stages, len(self.timm_model.feature_info), what="stages")
        self.stages = list(stages)
        self.norm, self.fit_input = norm, fit_input
        self.has_final_norm = _final_norm(self.timm_model) is not None
        self._check_norm()
        column = is_column(known.strides)
        self.patch_size = known.strides[0] if column else _patch_size(self.timm_model)
        # With added norms, a map before the last stage has a LayerNorm of its own.
        self.ends = norm != ADDED or self.stages[-1] == known.stages[-1].place
        self.trace(_native_size(self.timm_model))
        if norm == ADDED:
            self.add_norms(_final_norm(self.timm_model) if self.ends else None)
        self.switch(activation_checkpointing, frozen, norm_eval, sync_bn)

    def _build(self, model_name: str, **kwargs) -> None:
        # A network that does not know an argument refuses it before anything is built.
        given = any(key in kwargs for extra in ANY_SIZE for key in extra)
        for extra in ANY_SIZE[-1:] if given else ANY_SIZE:
            try:
                super().__init__(model_name, **extra, **kwargs)
                return
            except TypeError as error:
                if not any(key in str(error) for key in extra):
                    raise

    def _check_norm(self) -> None:
        kind = type(self.timm_model).__name__
        if not self.has_final_norm and self.norm not in ("none", ADDED):
            raise InputError(
                f"backbone.norm={self.norm!r}: timm's {kind} has no final norm; set it to 'none'"
            )
        if self.norm == "all" and not hasattr(self.timm_model, "blocks"):
            raise InputError(
                f"backbone.norm='all': the final norm of {kind} only fits the width of the last "
                "stage; choose 'none' or 'last'"
            )

    def maps_of(self, images: Tensor) -> list[Tensor]:
        """Compute the maps with timm's ``forward_intermediates``."""
        model = self.timm_model
        maps = model.forward_intermediates(
            images,
            indices=self.stages,
            norm=False,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        final = _final_norm(model) if self.ends else None
        if final is not None:
            for index in normed(self.norm, len(maps)):
                maps[index] = over_channels(final, maps[index])
        return maps


@MODELS.register_module()
class DenseTIMM(_IntermediateMaps):
    """Any backbone of timm with ``forward_intermediates`` that outputs intermediate maps.

    Transformers accept images of any size where timm can resize their position embedding
    (``dynamic_img_size=True`` or ``strict_img_size=False``, set without being asked). Parameters
    that the maps do not depend on are frozen, because DistributedDataParallel waits for the
    gradient of every trained one. ``strides`` and ``widths`` of the maps are logged.

    Args:
        model_name: Name of the model in timm.
        stages: Indices of the maps in timm's ``feature_info``, counted from 0: blocks of a
            transformer, or stages of a pyramid, where timm counts the stem of many networks as a
            stage. They are the only stages of this package that do not count from stride 4, as in
            :class:`~bam_mm.models.dense_backbone.DenseBackbone`: the four maps of timm's
            ``resnet50`` with strides of 4, 8, 16 and 32 pixels are ``[1, 2, 3, 4]`` here and
            ``[0, 1, 2, 3]`` there. By default, a pyramid outputs its deepest maps with
            strides of 4, 8, 16 and 32 pixels, and a plain transformer those of four blocks, see
            :func:`~bam_mm.models.dense_stages.default_stages`.
        norm: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`, or ``added``: the last map
            passes the final norm of the network, and every other one a LayerNorm over channels that
            the checkpoint does not hold, as in the detectors of Swin and ConvNeXt.
        fit_input: Way to make the sides of the images multiples of the patch size, ``pad`` or
            ``resize``, see :func:`~bam_mm.models.dense_inputs.fit_images`.
        activation_checkpointing: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        frozen: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        norm_eval: Whether BatchNorm uses and keeps its running statistics in training.
        sync_bn: Whether BatchNorm is synchronised over processes.
        **kwargs: Arguments of mmpretrain's ``TIMMBackbone`` and of the timm model, such as
            ``drop_path_rate``.

    Raises:
        InputError: If the model has no intermediate maps or stages of that index, no norm that
            fits, or maps whose cells do not divide the image.
    """


@MODELS.register_module()
class DenseCAFormer(_IntermediateMaps, CAFormer):
    """:class:`~bam_mm.models.caformer.CAFormer` that outputs the maps of its four stages.

    The arguments are those of :class:`DenseTIMM` and of the CAFormer.
    """

    def __init__(self, model_name: str = "caformer_m36", **kwargs) -> None:
        super().__init__(model_name, **kwargs)


def _patch_size(model: nn.Module) -> int:
    embed = getattr(model, "patch_embed", None)
    projection = getattr(embed, "proj", None)
    if isinstance(projection, nn.Conv2d):
        return projection.stride[0]  # Patches may overlap, as in PVT.
    patch = getattr(embed, "patch_size", 1)
    return max(patch) if isinstance(patch, (tuple, list)) else int(patch)


def _native_size(model: nn.Module) -> tuple[int, int]:
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if size is None:
        size = getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224))[1:]
    return pair(size)


def _final_norm(model: nn.Module) -> nn.Module | None:
    # Transformers have it at the top level, pyramids in the head, which timm keeps when it removes
    # the classifier.
    for owner in (model, getattr(model, "head", None)):
        norm = getattr(owner, "norm", None)
        if norm is not None and not isinstance(norm, nn.Identity):
            return norm
    return None
