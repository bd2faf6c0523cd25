"""Maps of features of a frozen backbone, as a model that is only tested."""

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
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenMaps(LoadsBranch, BaseModel):
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

    def __init__(
        self,
        backbone: Mapping,
        stage: int | None = None,
        branch: str = "teacher",
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if branch not in ("teacher", "student"):
            raise InputError(f"model.branch={branch!r}: choose 'teacher' or 'student'")
        if data_preprocessor is None:
            found = timm_preprocessing(backbone) or IMAGENET
            data_preprocessor = dict(mean=list(found.mean), std=list(found.std), bgr_to_rgb=True)
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = {"type": "mmseg.SegDataPreProcessor", **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.stage, self.branch = stage, branch
        self.backbone = build_map_backbone(backbone, stage)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenMaps:
        """Stay in evaluation mode, so that no statistics of the backbone change."""
        return super().train(False)

    def load_pretrained(self, path: str | Path, *, trust: bool = False) -> LoadReport | None:
        """Load the backbone, see the base class, and keep it frozen."""
        report = super().load_pretrained(path, trust=trust)
        self.requires_grad_(False)
        return report

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

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"
    ) -> Tensor:
        """Compute the maps of a batch.

        Args:
            inputs: (N, 3, H, W) normalised images.
            data_samples: Not used.
            mode: Mode of the forward pass; only ``tensor`` is supported.

        Returns:
            (N, D, h, w) float32 maps.

        Raises:
            InputError: If ``mode`` is not ``tensor``, or the backbone returns no map.
        """
        if mode != "tensor":
            raise InputError(
                f"FrozenMaps has no mode {mode!r}: it only returns features; score them with a "
                "loop such as bam_mm.DenseKNNTestLoop in test_cfg"
            )
        [maps] = self.extract_feat(inputs)
        return maps
