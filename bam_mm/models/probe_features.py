"""Features of a frozen backbone that linear probes and kNN use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.patch_features import is_timm
from bam_mm.registry import MODELS

FEATURES = ("cls", "cls+mean", "mean")


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
    kind = config["type"]
    if isinstance(kind, str):
        # A name without a scope is looked up in the current scope, as MODELS.build does.
        with MODELS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if "raw" in getattr(kind, "OUT_TYPES", ()):
        config.update(out_type="raw", out_indices=list(range(-blocks, 0)))
    return MODELS.build(config)


def block_outputs(backbone: nn.Module, images: Tensor, blocks: int) -> list[Tensor]:
    """Compute the outputs of a backbone's last blocks, each after the final norm.

    Args:
        backbone: Backbone from :func:`build_token_backbone`.
        images: (N, 3, H, W) normalised images.
        blocks: Number of last blocks of a transformer, the same that it was built with.

    Returns:
        Tokens (N, L, C) of the last blocks in the order of the forward pass, or the last map
        (N, C, h, w).
    """
    timm_model: Any = backbone.timm_model if is_timm(type(backbone)) else None
    if getattr(timm_model, "num_prefix_tokens", 0):
        outputs = timm_model.forward_intermediates(
            images,
            indices=blocks,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=True,
            intermediates_only=True,
        )
        return [torch.cat([prefix, patches], dim=1) for patches, prefix in outputs]
    outputs = backbone(images)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    if getattr(backbone, "final_norm", False):
        # mmpretrain normalises the last block only; DINO's protocol normalises each one.
        transformer: Any = backbone
        outputs[:-1] = [transformer.norm1(output) for output in outputs[:-1]]
    return outputs


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
        InputError: If ``feature`` is unknown, or needs a [CLS] token that does not exist.
    """
    last = outputs[-1]
    if feature not in FEATURES:
        raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES)}")
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


def prefix_tokens(backbone: nn.Module) -> int:
    """Return the number of tokens in front of a backbone's patches."""
    if is_timm(type(backbone)):
        return getattr(backbone.timm_model, "num_prefix_tokens", 0)
    return getattr(backbone, "num_extra_tokens", 0)
