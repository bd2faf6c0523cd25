"""Linear probing: a classifier whose backbone provably does not change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.classifier import ImageClassifier
from bam_mm.models.probe_features import (
    FEATURES,
    build_token_backbone,
    frozen_feature,
)
from bam_mm.precision import check_precision, computing_in, effective_precision
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenBackboneClassifier(ImageClassifier):
    """mmpretrain's classifier on frozen features.

    The backbone is always in evaluation mode, even if the model is in training mode: BatchNorm uses
    its running statistics without updating them, and drop path is off. Its parameters need no
    gradient, and its forward pass builds no graph.

    Args:
        backbone: Config of the backbone.
        head: Config of the head; its ``in_channels`` is the width of the feature.
        feature: Parts of the feature: ``cls``, ``cls+mean`` or ``mean``, see
            :func:`~bam_mm.models.probe_features.probe_feature`, or ``own`` for the library's own
            pooled feature.
        blocks: Number of last blocks whose [CLS] tokens are used.
        neck: Config of a neck, such as ``ClsBatchNormNeck`` (BatchNorm without affine parameters).
        precision: Precision in which the backbone computes, ``float32``, ``tf32`` or ``bfloat16``;
            None is ``tf32`` on a GPU and ``float32`` on a CPU. Neck and head are not affected.
        **kwargs: Arguments of mmpretrain's ``ImageClassifier``.

    Raises:
        InputError: If ``feature`` or ``precision`` is unknown, or ``blocks`` is less than 1.
    """

    def __init__(
        self,
        backbone: Mapping | nn.Module,
        head: dict | nn.Module,
        feature: str = "cls",
        blocks: int = 1,
        neck: dict | None = None,
        precision: str | None = None,
        **kwargs,
    ) -> None:
        if feature not in FEATURES:
            raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES)}")
        if blocks < 1:
            raise InputError(f"model.blocks={blocks}: the number of last blocks must be at least 1")
        check_precision(precision, "model.precision")
        if isinstance(backbone, Mapping):
            backbone = build_token_backbone(backbone, blocks)
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.feature, self.blocks, self.precision = feature, blocks, precision
        self.backbone.requires_grad_(False)

    @property
    def precision_used(self) -> str:
        """Precision in which the backbone computes on its device."""
        return effective_precision(self.precision, next(self.parameters()).device)

    def train(self, mode: bool = True) -> FrozenBackboneClassifier:
        """Set the mode of neck and head; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.train(False)
        return self

    def extract_feat(self, inputs: Tensor, stage: str = "neck") -> tuple[Tensor, ...]:
        """Compute the features of a batch.

        Args:
            inputs: (N, 3, H, W) normalised images.
            stage: Stage whose output is returned: ``backbone`` for the feature of the probe,
                ``neck`` for the output of the neck.

        Returns:
            Tuple of one tensor (N, D), for the stage ``backbone`` in float32.

        Raises:
            InputError: If the head expects another width than D.
        """
        # Never the caller's autocast, so that training with --amp and testing see equal features.
        with torch.no_grad(), computing_in(self.precision_used, inputs.device):
            x = frozen_feature(self.backbone, inputs, self.feature, self.blocks).float()
        wanted = getattr(self.head, "in_channels", x.shape[1])
        if x.shape[1] != wanted:
            raise InputError(
                f"the feature {self.feature!r} of this backbone is {x.shape[1]} wide, the head "
                f"takes {wanted}: set --cfg-options model.head.in_channels={x.shape[1]}"
                + (f" model.neck.input_features={x.shape[1]}" if self.with_neck else "")
            )
        if stage == "backbone" or not self.with_neck:
            return (x,)
        return self.neck((x,))


def tensor_digests(module: nn.Module) -> dict[str, str]:
    """Compute the SHA-256 digest of every parameter and buffer, including non-persistent buffers.

    Args:
        module: Module to digest.

    Returns:
        Digest of each tensor by name. Equal digests mean bit-equal tensors.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(data.data).hexdigest()
