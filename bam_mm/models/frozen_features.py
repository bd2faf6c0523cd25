"""Frozen backbone as a model that is only tested."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor

from bam_mm.checkpoint.backbone import LoadReport
from bam_mm.checkpoint.library_preprocessing import timm_preprocessing
from bam_mm.checkpoint.preprocessing import IMAGENET
from bam_mm.errors import InputError
from bam_mm.models.loading import LoadsBranch
from bam_mm.models.probe_features import (
    FEATURES,
    build_token_backbone,
    frozen_feature,
)
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenFeatures(LoadsBranch, BaseModel):
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
        if branch not in ("teacher", "student"):
            raise InputError(f"model.branch={branch!r}: choose 'teacher' or 'student'")
        if data_preprocessor is None:
            found = timm_preprocessing(backbone) or IMAGENET
            data_preprocessor = dict(mean=list(found.mean), std=list(found.std), to_rgb=True)
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = {"type": "mmpretrain.SelfSupDataPreprocessor", **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.feature, self.blocks, self.branch = feature, blocks, branch
        self.backbone = build_token_backbone(backbone, blocks)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Stay in evaluation mode, so that no statistics of the backbone change."""
        return super().train(False)

    def load_pretrained(self, path: str | Path, *, trust: bool = False) -> LoadReport | None:
        """Load the backbone, see the base class, and keep it frozen."""
        report = super().load_pretrained(path, trust=trust)
        self.requires_grad_(False)
        return report

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

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"
    ) -> Tensor:
        """Compute the features of a batch.

        Args:
            inputs: (N, 3, H, W) normalised images.
            data_samples: Not used.
            mode: Mode of the forward pass; only ``tensor`` is supported.

        Returns:
            (N, D) float32 features, where D is the width of the backbone times the number of parts.

        Raises:
            InputError: If ``mode`` is not ``tensor``, or the backbone lacks the chosen feature.
        """
        if mode != "tensor":
            raise InputError(
                f"FrozenFeatures has no mode {mode!r}: it only returns features; score them with a "
                "loop such as bam_mm.KNNTestLoop in test_cfg"
            )
        [features] = self.extract_feat(inputs)
        return features
