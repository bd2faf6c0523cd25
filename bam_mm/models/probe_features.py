"""Features of a frozen backbone that linear probes and kNN use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.registry import MODELS, registered_class

FEATURES = ("cls", "cls+mean", "mean", "own")
"""Features of a probe; ``own`` is the library's own pooled feature, before its classifier."""


def build_token_backbone(config: Mapping, blocks: int) -> nn.Module:
    """Build a backbone that outputs the tokens or the map that a probe needs.

    A transformer of mmpretrain is always built to output all tokens (``out_type='raw'``) of its
    last blocks, even if the config sets another ``out_type``. Other backbones are built unchanged.

    Args:
        config: Config of the backbone.
        blocks: Number of last blocks whose tokens are needed.

    Returns:
        The backbone.
    """
    config = dict(config)
    kind = registered_class(config["type"])
    if "raw" in getattr(kind, "OUT_TYPES", ()):
        config.update(out_type="raw", out_indices=list(range(-blocks, 0)))
    return MODELS.build(config)


def frozen_feature(backbone: nn.Module, images: Tensor, feature: str, blocks: int) -> Tensor:
    """Compute one feature vector per image.

    Args:
        backbone: Backbone from :func:`build_token_backbone`.
        images: (N, 3, H, W) normalised images.
        feature: Parts of the feature, see :func:`probe_feature`, or ``own``.
        blocks: Number of last blocks of a transformer.

    Returns:
        (N, D) features.

    Raises:
        InputError: Same as in :func:`probe_feature`, or if the output has another shape than the
            library of the backbone states, see
            :class:`~bam_mm.models.adapters.contract.BackboneAdapter`.
    """
    adapter = adapter_of(backbone)
    adapter.announce_padding(images)
    if images.device.type == "cpu" and adapter.library != "own":
        # Convolutions are faster with channels last, and their outputs follow. Someone's own module
        # may view a map as a vector, for which it must have channels first.
        images = images.contiguous(memory_format=torch.channels_last)
    if feature == "own":
        return adapter.vector(images)
    outputs = adapter.outputs(images, blocks)
    if adapter.prefix_tokens and adapter.cls_index is None and feature != "mean":
        raise InputError(
            f"model.feature={feature!r}: {adapter.name} has {adapter.prefix_tokens} registers and "
            "no [CLS] token; set model.feature=mean"
        )
    return probe_feature(outputs, feature, prefix=adapter.prefix_tokens)


def probe_feature(outputs: Sequence[Tensor], feature: str, *, prefix: int = 1) -> Tensor:
    """Combine the outputs of a backbone into one feature vector per image.

    Args:
        outputs: Tokens (N, L, C) of the last blocks after the norm, or one map (N, C, h, w).
        feature: Parts of the feature: ``cls`` for the [CLS] tokens of all blocks in ``outputs``,
            ``cls+mean`` for these and the mean patch of the last block (ViT-B of BAM and DINO), or
            ``mean`` for the mean patch or the mean of the map.
        prefix: Number of tokens in front of the patches; the first one is [CLS].

    Returns:
        (N, D) concatenated parts, where D is C times their number.

    Raises:
        InputError: If ``feature`` is unknown or ``own``, which no outputs hold, or needs a [CLS]
            token that does not exist.
    """
    last = outputs[-1]
    if feature not in FEATURES[:-1]:
        raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES[:-1])}")
    if last.ndim == 4:
        last, prefix = last.flatten(2).transpose(1, 2), 0
    if feature != "mean" and (not prefix or last.ndim != 3):
        raise InputError(
            f"model.feature={feature!r}: this backbone returns {tuple(outputs[-1].shape)} and no "
            "[CLS] token; set model.feature=mean"
        )
    if last.ndim == 2:
        return last
    parts = [] if feature == "mean" else [tokens[:, 0] for tokens in outputs]
    if feature != "cls":
        parts.append(last[:, prefix:].mean(dim=1))
    return torch.cat(parts, dim=1)
