"""Any backbone that the adapters know, with several maps for detection and segmentation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.models.adapters.torchvision_models import TorchvisionAdapter
from bam_mm.models.dense_inputs import check_fit
from bam_mm.models.dense_parts import ADDED, DenseMixin, pair
from bam_mm.models.dense_stages import default_stages, is_column
from bam_mm.models.dense_vit import check_blocks, check_norm
from bam_mm.models.drop_path import scale_drop_path
from bam_mm.models.loading import RefusesPretraining
from bam_mm.registry import MODELS, registered_class


@MODELS.register_module()
class DenseBackbone(DenseMixin, RefusesPretraining, BaseModule):
    """A backbone of mmpretrain, mmdet, mmseg or torchvision that outputs maps of several stages.

    The network is built unchanged and read through its adapter
    (:func:`~bam_mm.models.adapters.adapter_of`). A checkpoint is loaded into the network.
    Parameters that the maps do not depend on are frozen. ``strides`` and ``widths`` of the maps are
    logged.

    Args:
        network: Config of the network.
        stages: Indices of the maps: the stages of a pyramid, where 0 has a stride of 4 pixels, or
            blocks of a transformer, as in ``model.stage`` of the other tasks:
            ``[0, 1, 2, 3]`` for a ResNet-50.
            :class:`~bam_mm.models.dense_timm.DenseTIMM` counts as timm does, from the stem:
            ``[1, 2, 3, 4]`` for the same maps. By default, as there.
        norm: Same as in :class:`~bam_mm.models.dense_timm.DenseTIMM`. Output norms that the network
            was built with always apply.
        fit_input: Same as in :class:`~bam_mm.models.dense_timm.DenseTIMM`.
        activation_checkpointing: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        frozen: Same as in :class:`~bam_mm.models.dense_vit.DenseViT`.
        norm_eval: Whether BatchNorm uses and keeps its running statistics in training.
        sync_bn: Whether BatchNorm is synchronised over processes.
        drop_path_rate: Drop path rate of the last block of a torchvision network; those of the
            others keep their ratio. None keeps torchvision's own rates. Networks of other libraries
            take it in ``network``.
        init_cfg: Initialisation, as in every module of mmengine.

    Raises:
        InputError: If no adapter knows the network, a stage does not exist, or the cells of a map
            do not divide the image.
    """

    wraps = "network"
    """Name of the module that checkpoints of a backbone are loaded into."""

    def __init__(
        self,
        network: Mapping[str, Any],
        stages: Sequence[int] | None = None,
        norm: str = "none",
        fit_input: str = "pad",
        activation_checkpointing: bool = False,
        frozen: bool = False,
        norm_eval: bool = False,
        sync_bn: bool = False,
        drop_path_rate: float | None = None,
        init_cfg: Any = None,
    ) -> None:
        check_norm(norm, (ADDED,))
        check_fit(fit_input)
        super().__init__(init_cfg)
        self.network = MODELS.build(_for_small_maps(network))
        known = adapter_of(self.network)
        self.name = known.name
        if drop_path_rate is not None:
            self._set_drop_path(drop_path_rate)
        chosen = [stage.index for stage in default_stages(known.stages)]
        stages = chosen if stages is None else stages
        check_blocks(stages, len(known.stages), what="stages")
        self.stages = list(stages)
        self.norm, self.fit_input = norm, fit_input
        self.column = is_column(known.strides)
        self.patch_size = known.strides[0] if self.column else known.sizes.multiple
        if norm == "all" and not self.column:
            raise InputError(
                f"backbone.norm='all': the final norm of {self.name} only fits the width of the "
                f"last stage; choose 'none', 'last' or {ADDED!r}"
            )
        self.trace(pair(getattr(self.network, "img_size", 224)))
        if norm == ADDED:
            ends = self.stages[-1] == known.stages[-1].index
            self.add_norms(_final_norm(self.network) if ends else None)
        self.switch(activation_checkpointing, frozen, norm_eval, sync_bn)

    def _set_drop_path(self, rate: float) -> None:
        if not scale_drop_path(self.network, rate) and rate:
            raise InputError(
                f"backbone.drop_path_rate={rate}: {self.name} has no drop path that can be scaled; "
                "set it to None"
            )

    def maps_of(self, images: Tensor) -> list[Tensor]:
        """Compute the maps with the adapter of the network."""
        norm = "last" if self.norm == ADDED else self.norm
        return adapter_of(self.network).maps(images, self.stages, norm=norm)


def _for_small_maps(network: Mapping[str, Any]) -> dict[str, Any]:
    """Let mmpretrain's window attention pad maps that are smaller than a window."""
    if not isinstance(network, Mapping) or "type" not in network:
        raise InputError(
            f"backbone.network={network!r}: write the config of a backbone, as in "
            "dict(type='mmpretrain.ResNet', depth=50)"
        )
    config = dict(network)
    if "pad_small_map" in inspect.signature(registered_class(config["type"])).parameters:
        config.setdefault("pad_small_map", True)
    return config


def _final_norm(network: nn.Module) -> nn.Module | None:
    """Return the norm that the network itself applies to its last map, None for none."""
    known = adapter_of(network)
    if isinstance(known, TorchvisionAdapter):
        return known.final_norm
    norms = [m for m in network.children() if "LayerNorm" in type(m).__name__]
    return norms[-1] if norms else None
