"""Linear probing: a classifier whose backbone provably stays as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.probe_features import (
    FEATURES,
    block_outputs,
    build_token_backbone,
    prefix_tokens,
    probe_feature,
)
from bam_mm.registry import MODELS


@MODELS.register_module()
class FrozenBackboneClassifier(ImageClassifier):
    """mmpretrain's classifier on frozen features.

    The backbone is in evaluation mode whatever mode the model is in (BatchNorm uses its running
    statistics and does not update them, drop path is off), its parameters need no gradient, and its
    forward pass builds no graph.

    Args:
        backbone: Config of the backbone.
        head: Config of the head; its ``in_channels`` is the width of the feature.
        feature: See :func:`~bam_mm.models.probe_features.probe_feature`.
        blocks: Of how many last blocks the [CLS] tokens are taken.
        neck: Config of a neck, as ``ClsBatchNormNeck``: BatchNorm without affine parameters.
        **kwargs: For mmpretrain's ``ImageClassifier``.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        head: dict,
        feature: str = "cls",
        blocks: int = 1,
        neck: dict | None = None,
        **kwargs,
    ) -> None:
        if feature not in FEATURES:
            raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES)}")
        if blocks < 1:
            raise InputError(f"model.blocks={blocks}: the number of last blocks, from 1 up")
        if isinstance(backbone, Mapping):
            backbone = build_token_backbone(backbone, blocks)
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.feature, self.blocks = feature, blocks
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenBackboneClassifier:
        """Set the mode of neck and head; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.train(False)
        return self

    def extract_feat(self, inputs: Tensor, stage: str = "neck") -> tuple[Tensor, ...]:
        """Features of a batch.

        Args:
            inputs: (N, 3, H, W), normalised.
            stage: ``backbone``: the probe's feature; ``neck``: after the neck.

        Returns:
            A tuple of one tensor (N, D).

        Raises:
            InputError: If D is not what the head takes.
        """
        with torch.no_grad():
            outputs = block_outputs(self.backbone, inputs, self.blocks)
            x = probe_feature(outputs, self.feature, prefix=prefix_tokens(self.backbone))
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
    """SHA-256 of every parameter and buffer of a module, also of those not saved with it.

    Args:
        module: Any module.

    Returns:
        Digest by name; two are equal where the tensors are bit-equal.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(data).hexdigest()
