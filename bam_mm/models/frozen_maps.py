"""Maps of features of a frozen backbone, as a model that is only tested."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bam_mm.models.frozen_backbone import FrozenBackbone
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenMaps(FrozenBackbone):
    """Features of the patches of any backbone, for dense kNN.

    Args:
        backbone: Config of the backbone.
        stage: Index of the map, see :func:`~bam_mm.models.patch_features.feature_map`; None is the
            last one.
        branch: Branch of a BAM checkpoint to load, ``teacher`` or ``student``.
        data_preprocessor: Config of the data preprocessor, of mmseg's kind if it has no type; None
            normalises as timm's ``pretrained_cfg`` of the backbone states, and the images of other
            backbones with ImageNet's mean and standard deviation.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If ``branch`` has an invalid value, or the backbone has no such stage.
    """

    preprocessor, to_rgb = "mmseg.SegDataPreProcessor", "bgr_to_rgb"
    loop = "bam_mm.DenseKNNTestLoop"

    def __init__(
        self,
        backbone: Mapping,
        stage: int | None = None,
        branch: str = "teacher",
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone,
            lambda config: build_map_backbone(config, stage),
            branch=branch,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.stage = stage

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Compute the maps of a batch; the libraries' tools call models by this method.

        Args:
            inputs: (N, 3, H, W) normalised images.

        Returns:
            Tuple of one map (N, D, h, w) in float32.

        Raises:
            InputError: If the backbone returns no map.
        """
        return (feature_map(self.backbone, inputs, self.stage).float(),)
