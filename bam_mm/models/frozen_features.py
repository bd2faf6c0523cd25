"""Frozen backbone as a model that is only tested."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.models.frozen_backbone import FrozenBackbone
from bam_mm.models.probe_features import (
    FEATURES,
    build_token_backbone,
    frozen_feature,
)
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenFeatures(FrozenBackbone):
    """Features of any backbone, for kNN, logistic regression and clustering.

    Args:
        backbone: Config of the backbone.
        feature: Parts of the feature: ``cls``, ``cls+mean`` or ``mean``, see
            :func:`~bam_mm.models.probe_features.probe_feature`, or ``own`` for the library's own
            pooled feature. Use ``mean`` for convolutional
            networks.
        blocks: Number of last blocks whose [CLS] tokens are used.
        branch: Branch of a BAM checkpoint to load, ``teacher`` or ``student``.
        data_preprocessor: Config of the data preprocessor; None normalises RGB as timm's
            ``pretrained_cfg`` of the backbone states, and the images of other backbones with
            ImageNet's mean and standard deviation.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If ``feature``, ``blocks`` or ``branch`` has an invalid value.
    """

    preprocessor, to_rgb = "mmpretrain.SelfSupDataPreprocessor", "to_rgb"
    loop = "bam_mm.KNNTestLoop"

    def __init__(
        self,
        backbone: Mapping,
        feature: str = "cls",
        blocks: int = 1,
        branch: str = "teacher",
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if feature not in FEATURES:
            raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES)}")
        if blocks < 1:
            raise InputError(f"model.blocks={blocks}: the number of last blocks must be at least 1")
        super().__init__(
            backbone,
            lambda config: build_token_backbone(config, blocks),
            branch=branch,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.feature, self.blocks = feature, blocks

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor, stage: str = "backbone") -> tuple[Tensor]:
        """Compute the features of a batch; mmpretrain's ``FeatureExtractor`` and tools call this.

        Args:
            inputs: (N, 3, H, W) normalised images.
            stage: Stage whose output is returned; the model has only the stage ``backbone``.

        Returns:
            Tuple of one tensor (N, D) in float32, where D is the width of the backbone times the
            number of parts.

        Raises:
            InputError: If there is no such stage, or the backbone lacks the chosen feature.
        """
        if stage != "backbone":
            raise InputError(
                f"stage={stage!r}: FrozenFeatures has neither neck nor head; leave stage out"
            )
        return (frozen_feature(self.backbone, inputs, self.feature, self.blocks).float(),)
