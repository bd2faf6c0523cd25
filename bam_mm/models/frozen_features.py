"""A frozen backbone as a model that is only tested."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from bam_mm.checkpoint.backbone import LoadReport, load_backbone
from bam_mm.errors import InputError
from bam_mm.models.probe_features import (
    FEATURES,
    block_outputs,
    build_token_backbone,
    prefix_tokens,
    probe_feature,
)
from bam_mm.registry import MODELS

RANDOM = "random"
"""In place of a checkpoint: the weights of a network that was never trained."""


@MODELS.register_module()
class FrozenFeatures(BaseModel):
    """Features of any backbone, for kNN, logistic regression and clustering.

    Args:
        backbone: Config of the backbone.
        feature: ``cls``, ``cls+mean`` or ``mean``, see
            :func:`~bam_mm.models.probe_features.probe_feature`. ``mean`` for a convolutional one.
        blocks: Of how many last blocks the [CLS] tokens are taken.
        branch: Of a BAM checkpoint, ``teacher`` or ``student``.
        data_preprocessor: Config of the preprocessor; None normalises RGB by ImageNet's mean and
            standard deviation.
        init_cfg: For ``BaseModule``.

    Raises:
        InputError: If an option is wrong.
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
            raise InputError(f"model.blocks={blocks}: the number of last blocks, from 1 up")
        if branch not in ("teacher", "student"):
            raise InputError(f"model.branch={branch!r}: choose 'teacher' or 'student'")
        if data_preprocessor is None:
            data_preprocessor = dict(
                mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
            )
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = {"type": "mmpretrain.SelfSupDataPreprocessor", **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.feature, self.blocks, self.branch = feature, blocks, branch
        self.backbone = build_token_backbone(backbone, blocks)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Stay in evaluation mode: no statistic of a frozen backbone moves."""
        return super().train(False)

    def load_pretrained(self, path: str | Path, *, trust: bool = False) -> LoadReport | None:
        """Load the backbone of a checkpoint, every tensor of it, or stop.

        Args:
            path: The checkpoint; or ``random``, spelt out, for the weights that training would have
                started from (the config's ``randomness.seed`` fixes them).
            trust: The user's explicit word that code in this file may run.

        Returns:
            What was loaded, None for ``random``.

        Raises:
            InputError: As :func:`~bam_mm.checkpoint.backbone.load_backbone`.
        """
        if str(path) != RANDOM:
            options = {"trust": True} if trust else {}
            return load_backbone(self.backbone, path, branch=self.branch, **options)
        start_untrained(self.backbone)
        self.requires_grad_(False)
        return None

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"
    ) -> Tensor:
        """Features of a batch.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: Not needed.
            mode: ``tensor``.

        Returns:
            (N, C) float32; C is the backbone's width for each token that is joined.

        Raises:
            InputError: In any other mode, or if the backbone has no such feature.
        """
        if mode != "tensor":
            raise InputError(
                f"FrozenFeatures has no mode {mode!r}: it gives features, and a loop such as "
                "bam_mm.KNNTestLoop scores them (test_cfg)"
            )
        outputs = block_outputs(self.backbone, inputs, self.blocks)
        return probe_feature(outputs, self.feature, prefix=prefix_tokens(self.backbone)).float()


def start_untrained(backbone: nn.Module) -> None:
    """Give a backbone the weights that training would start from, and say so."""
    if hasattr(backbone, "init_weights"):
        backbone.init_weights()
    print_log(
        "random weights, as asked for: the scores are those of an untrained network",
        logger="current",
        level=logging.WARNING,
    )
