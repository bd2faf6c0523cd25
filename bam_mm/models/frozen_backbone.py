"""What models that only return features of a frozen backbone have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from bam_mm.checkpoint.backbone import LoadReport
from bam_mm.checkpoint.library_preprocessing import timm_preprocessing
from bam_mm.checkpoint.preprocessing import IMAGENET
from bam_mm.errors import InputError
from bam_mm.models.loading import LoadsBranch


class FrozenBackbone(LoadsBranch, BaseModel):
    """A backbone that is frozen and only tested; a subclass chooses what it returns.

    Args:
        backbone: Config of the backbone.
        build: Function that builds it.
        branch: Branch of a BAM checkpoint to load, ``teacher`` or ``student``.
        data_preprocessor: Config of the data preprocessor, of the kind of ``preprocessor`` if it
            has no type; None normalises as timm's ``pretrained_cfg`` of the backbone states, and
            the images of other backbones with ImageNet's mean and standard deviation.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If ``branch`` has an invalid value.
    """

    preprocessor: str
    """Type of the data preprocessor."""
    to_rgb: str
    """Argument of the data preprocessor that turns images from BGR to RGB."""
    loop: str
    """A loop that scores the features, for messages."""

    def __init__(
        self,
        backbone: Mapping,
        build: Callable[[Mapping], nn.Module],
        *,
        branch: str,
        data_preprocessor: Mapping | None,
        init_cfg: dict | None,
    ) -> None:
        if branch not in ("teacher", "student"):
            raise InputError(f"model.branch={branch!r}: choose 'teacher' or 'student'")
        if data_preprocessor is None:
            found = timm_preprocessing(backbone) or IMAGENET
            data_preprocessor = {
                "mean": list(found.mean), "std": list(found.std), self.to_rgb: True
            }  # fmt: skip
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = {"type": self.preprocessor, **data_preprocessor}
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.branch = branch
        self.backbone = build(backbone)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Stay in evaluation mode, so that no statistics of the backbone change."""
        return super().train(False)

    def load_pretrained(self, path: str | Path, *, trust: bool = False) -> LoadReport | None:
        """Load the backbone, see the base class, and keep it frozen."""
        report = super().load_pretrained(path, trust=trust)
        self.requires_grad_(False)
        return report

    @abstractmethod
    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Compute the features of a batch (N, 3, H, W) of normalised images."""

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
            (N, D) or (N, D, h, w) float32 features, see ``extract_feat``.

        Raises:
            InputError: If ``mode`` is not ``tensor``, or the backbone lacks the chosen feature.
        """
        if mode != "tensor":
            raise InputError(
                f"{type(self).__name__} has no mode {mode!r}: it only returns features; score them "
                f"with a loop such as {self.loop} in test_cfg"
            )
        [features] = self.extract_feat(inputs)
        return features
